import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BOUNDS, RETURN_MESSAGE, StreamError } from "./format.ts";
import { type ReturnMessage, ReturnPathReader } from "./return-path.ts";
import { chunkings, pieces, returnMessage, sample, VERSIONS, written } from "./testing.ts";
import { be32, be64, counted } from "./writer.ts";

interface Heard {
  readonly messages: ReturnMessage[];
  readonly error: StreamError | null;
}

function read(stream: Buffer, chunks: readonly number[] = []): Heard {
  const messages: ReturnMessage[] = [];
  const reader = new ReturnPathReader((said) => messages.push(said));
  try {
    for (const piece of pieces(stream, chunks)) reader.push(piece);
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    expect(() => reader.push(Buffer.alloc(1))).toThrow(error);
    return { messages, error };
  }
  return { messages, error: null };
}

const be32s = fc.nat(2 ** 32 - 1);
const names = fc.constantFrom("", "ram0", "/rom@etc/acpi/tables", "n".repeat(255), "\xff\0");
const said: fc.Arbitrary<ReturnMessage> = fc.oneof(
  fc.record({ kind: fc.constantFrom("shut", "pong", "resume-ack"), value: be32s }),
  fc.constant({ kind: "switchover-ack" } as const),
  fc.record({
    kind: fc.constant("request"),
    block: fc.option(names),
    start: fc.maxSafeInteger().map(Math.abs),
    bytes: be32s,
  }),
  fc.record({
    kind: fc.constant("received"),
    block: names,
    pages: fc.uint8Array({ maxLength: 500 }).map((bytes) => Buffer.from(bytes)),
  }),
);

describe("the return path", () => {
  test("is read as it is written, in any pieces", () => {
    fc.assert(
      fc.property(fc.array(said, { maxLength: 12 }), chunkings, (all, chunks) => {
        expect(read(Buffer.concat(all.map(written)), chunks)).toEqual({ messages: all, error: null });
      }),
    );
  });

  test.each(VERSIONS)("of QEMU %s is, byte for byte, what its messages say", (version) => {
    for (const name of [`post-copy-${version}`, `recovery-${version}`, `recovery-${version}.broken`]) {
      const stream = sample(`${name}.return`);
      const { messages, error } = read(stream);
      expect(error).toBeNull();
      expect(Buffer.concat(messages.map(written))).toEqual(stream);
      expect(read(stream, [1])).toEqual({ messages, error });
      for (let cut = 0; cut < stream.length; cut += 1) {
        const part = read(stream.subarray(0, cut));
        expect(part.error).toBeNull();
        expect(part.messages).toEqual(messages.slice(0, part.messages.length));
      }
    }
  });

  test.each([
    ["an unknown message", returnMessage(9), /unknown return message 9/],
    ["a message too short", returnMessage(RETURN_MESSAGE.pong, Buffer.alloc(2)), /message of 2 bytes, where 4/],
    ["a message too long", returnMessage(RETURN_MESSAGE.shut, Buffer.alloc(5)), /message of 5 bytes, where 4/],
    [
      "a name that does not fill its message",
      returnMessage(3, be64(0), be32(1), counted("ram"), Buffer.of(0)),
      /17 bytes/,
    ],
    [
      "a bitmap too large",
      Buffer.concat([returnMessage(5, counted("a")), be64(BOUNDS.bitmap + 1)]),
      /bitmap of 268435457/,
    ],
    [
      "a bitmap that does not end",
      Buffer.concat([returnMessage(5, counted("a")), be64(8), Buffer.alloc(16)]),
      /end mark/,
    ],
  ])("%s is an error, and stays one", (_, stream, expected) => {
    for (const chunks of [[], [1]]) {
      const { messages, error } = read(stream, chunks);
      expect(messages).toEqual([]);
      expect(error?.message).toMatch(expected);
      expect(error?.offset).toBeLessThanOrEqual(stream.length);
    }
  });

  test("a request beyond what a number can tell is an error", () => {
    expect(read(returnMessage(RETURN_MESSAGE.requestPages, Buffer.alloc(8, 255), be32(1))).error).not.toBeNull();
  });

  test("garbage and damage are messages and then an error, the same in any pieces", () => {
    const garbage = fc.oneof(
      fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 12, 13), { maxLength: 100 }),
      fc.uint8Array({ maxLength: 60 }),
    );
    fc.assert(
      fc.property(fc.array(said, { maxLength: 3 }), garbage, garbage, chunkings, (all, before, behind, chunks) => {
        const good = Buffer.concat(all.map(written));
        const stream = Buffer.concat([good, Buffer.from(before), good.subarray(1), Buffer.from(behind)]);
        const heard = read(stream, chunks);
        expect(heard.messages.slice(0, all.length)).toEqual(all);
        expect(heard).toEqual(read(stream));
        if (heard.error !== null) expect(heard.error.offset).toBeLessThanOrEqual(stream.length);
      }),
      { numRuns: 500 },
    );
  });
});
