import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Demultiplexer } from "./demultiplexer.ts";

interface Piece {
  readonly stream: number;
  readonly data: Uint8Array;
}

function frames(pieces: readonly Piece[]): Buffer {
  return Buffer.concat(
    pieces.flatMap(({ stream, data }) => {
      const header = Buffer.alloc(8);
      header.writeUInt8(stream, 0);
      header.writeUInt32BE(data.length, 4);
      return [header, data];
    }),
  );
}

async function demultiplex(chunks: readonly Buffer[]): Promise<{ output: Buffer; errors: string }> {
  let errors = "";
  const demultiplexer = new Demultiplexer((text) => {
    errors += text;
  });
  const read = demultiplexer.toArray();
  for (const chunk of chunks) demultiplexer.write(chunk);
  demultiplexer.end();
  return { output: Buffer.concat(await read), errors };
}

const PIECES = fc.array(
  fc.oneof(
    fc.record({ stream: fc.constant(1), data: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ stream: fc.constant(2), data: fc.string({ unit: "grapheme-ascii" }).map((text) => Buffer.from(text)) }),
  ),
);

describe("the engine's multiplexed stream", () => {
  it("is taken apart wherever it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(PIECES, fc.integer({ min: 1, max: 20 }), async (pieces, size) => {
        const whole = frames(pieces);
        const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, i) =>
          whole.subarray(i * size, (i + 1) * size),
        );
        const of = (stream: number): Buffer =>
          Buffer.concat(pieces.filter((piece) => piece.stream === stream).map(({ data }) => data));
        expect(await demultiplex(chunks)).toEqual({ output: of(1), errors: of(2).toString("utf8") });
      }),
    );
  });

  it("that ends in the middle is an error", async () => {
    const whole = frames([{ stream: 1, data: Buffer.from("hello") }]);
    for (let length = 1; length < whole.length; length++) {
      await expect(demultiplex([whole.subarray(0, length)])).rejects.toThrow(/ended in the middle/);
    }
  });
});
