import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PageFrameError } from "./page-frames.ts";
import { decodeRecordPiece, encodeRecordPiece, FRAME_RECORD } from "./record-frames.ts";

const piece = fc.record({
  purpose: fc.constantFrom("append" as const, "answer" as const),
  stream: fc.nat(2 ** 32 - 1),
  meta: fc.option(fc.record({ lineage: fc.string({ maxLength: 64 }) }, { noNullPrototype: true })),
  last: fc.boolean(),
  bytes: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

describe("pieces of a record", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(piece, (sent) => {
        const bytes = Buffer.concat(encodeRecordPiece({ ...sent, bytes: [sent.bytes] }));
        expect(bytes[0]).toBe(FRAME_RECORD);
        expect(decodeRecordPiece(bytes)).toEqual(sent);
      }),
    );
  });

  it("are refused with a flag, a purpose or a first piece that nobody sends, and when cut before their bytes", () => {
    const whole = Buffer.concat(
      encodeRecordPiece({ purpose: "answer", stream: 7, meta: { lineage: "l" }, last: false, bytes: [] }),
    );
    for (let cut = 0; cut < whole.length; cut += 1)
      expect(() => decodeRecordPiece(whole.subarray(0, cut))).toThrow(PageFrameError);
    for (const [at, value] of [
      [1, 9],
      [6, 0x80],
      [7, 0xff],
      [9, 0x20],
    ] as const) {
      const bad = Buffer.from(whole);
      bad[at] = value;
      expect(() => decodeRecordPiece(bad)).toThrow(PageFrameError);
    }
  });
});
