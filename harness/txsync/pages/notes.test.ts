import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeNote, encodeNote, FRAME_NOTE, type Note } from "./notes.ts";
import { PageFrameError } from "./page-frames.ts";

const count = fc.nat(Number.MAX_SAFE_INTEGER);
/** RAM blocks are named by QEMU, and none like what every object has: a parser that builds objects leaves that one out. */
const name = fc
  .string({ maxLength: 30, unit: "grapheme" })
  .filter((text) => text.length <= 255 && text !== "__proto__");
const base = fc.string({ maxLength: 16, unit: "grapheme-ascii" });
const notes: fc.Arbitrary<Note> = fc.oneof(
  fc.record({
    kind: fc.constant("base-offered" as const),
    base,
    blocks: fc.array(fc.record({ name, bytes: count }, { noNullPrototype: true }), { maxLength: 20 }),
    from: fc.option(base),
    final: fc.boolean(),
    changed: fc.dictionary(name, fc.array(fc.tuple(count, count), { maxLength: 10 }), {
      maxKeys: 5,
      noNullPrototype: true,
    }),
  }),
  fc.record({
    kind: fc.constant("base-held" as const),
    base,
    complete: fc.boolean(),
    share: fc.double({ min: 0, max: 1, noNaN: true }).map((share) => share + 0),
    from: fc.dictionary(name, count, { maxKeys: 20, noNullPrototype: true }),
  }),
  fc.record({
    kind: fc.constant("log-wanted" as const),
    question: count,
    n: fc.option(count),
    since: fc.option(fc.record({ lineage: base, n: count }, { noNullPrototype: true })),
  }),
  fc.record({ kind: fc.constant("log-grew" as const), n: count }),
  fc.record({ kind: fc.constant("record-again" as const), generation: count, n: count }),
  fc.record({ kind: fc.constant("record-here" as const), generation: count, n: count }),
  fc.record({ kind: fc.constant("record-spoilt" as const), why: fc.string({ maxLength: 200 }) }),
  fc.record({ kind: fc.constant("log-refused" as const), question: count, why: fc.string({ maxLength: 200 }) }),
);

function bytesOf(note: unknown): Buffer {
  return Buffer.concat(encodeNote(note as Note));
}

describe("notes", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(notes, (note) => {
        const bytes = bytesOf(note);
        expect(bytes[0]).toBe(FRAME_NOTE);
        expect(decodeNote(bytes)).toEqual(note);
      }),
    );
  });

  it("are refused when cut, as garbage, and when they say what makes no sense: with nothing but their own error", () => {
    const held = { kind: "base-held", base: "b", complete: false, share: 0.5, from: { ram0: 3 } };
    const whole = bytesOf(held);
    for (let cut = 0; cut < whole.length; cut += 1)
      expect(() => decodeNote(whole.subarray(0, cut))).toThrow(PageFrameError);
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(Buffer.from)), (garbage) => {
        expect(() => decodeNote(Buffer.concat([Buffer.of(FRAME_NOTE), garbage]))).toThrow(PageFrameError);
      }),
    );
    const bad = [
      { ...held, share: 1.5 },
      { ...held, from: { ram0: -1 } },
      { ...held, from: { ram0: 0.5 } },
      { ...held, kind: "base-eaten" },
      { ...held, more: 1 },
      { kind: "log-refused", question: 1, why: "x".repeat(2000) },
      { kind: "log-wanted", question: 1 },
    ];
    for (const note of bad) expect(() => decodeNote(bytesOf(note))).toThrow(PageFrameError);
    expect(() => decodeNote(Buffer.alloc(3 * 2 ** 20, 32))).toThrow(/a note of/);
  });
});
