import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import type { Role } from "../core/index.ts";
import {
  decodePages,
  decodeRequest,
  encodePages,
  encodeRequest,
  FRAME_PAGES,
  FRAME_REQUEST,
  PageFrameError,
  RUN_PAGES_MAX,
  wantedBy,
} from "./page-frames.ts";

const role = fc.constantFrom<Role>("source", "target", "escrow");
const BASE = "00112233aabbccdd";
const base = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const block = fc.string({ maxLength: 40, unit: "grapheme" });
const first = fc.nat(2 ** 32 - 1);
const requests = fc.record({
  by: role,
  of: role,
  base,
  runs: fc.array(fc.record({ block, first, count: fc.integer({ min: 1, max: RUN_PAGES_MAX }) }), { maxLength: 30 }),
});
/** A page is told by one byte; 0 is the zero page. */
const answers = fc.record({
  by: role,
  base,
  block,
  first,
  fills: fc.array(fc.nat(255), { minLength: 1, maxLength: RUN_PAGES_MAX }),
});
type Answer = Parameters<typeof encodePages>[0];

function answerOf({ fills, ...rest }: Omit<Answer, "pages"> & { fills: readonly number[] }): Answer {
  return { ...rest, pages: fills.map((fill) => (fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill))) };
}

/** Nothing but a result or a PageFrameError. */
function refusedOrNot(decode: (bytes: Buffer) => unknown, bytes: Buffer): boolean {
  try {
    decode(bytes);
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(PageFrameError);
    return true;
  }
}

describe("frames about pages", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(requests, (request) => {
        const bytes = encodeRequest(request);
        expect(bytes[0]).toBe(FRAME_REQUEST);
        expect(decodeRequest(bytes)).toEqual(request);
        expect(wantedBy(bytes)).toBe(request.by);
      }),
    );
    fc.assert(
      fc.property(answers, (sketch) => {
        const answer = answerOf(sketch);
        const bytes = Buffer.concat(encodePages(answer));
        expect(bytes[0]).toBe(FRAME_PAGES);
        const { pages, ...rest } = decodePages(bytes);
        const { pages: sent, ...head } = answer;
        expect(rest).toEqual(head);
        expect(pages.length).toBe(sent.length);
        for (const [i, page] of pages.entries()) {
          const want = sent[i] ?? null;
          expect(page === null ? want === null : want !== null && Buffer.compare(page, want) === 0).toBe(true);
        }
        expect(wantedBy(bytes)).toBe(answer.by);
      }),
    );
  });

  it("do not copy the pages of an answer", () => {
    const page = Buffer.alloc(PAGE_BYTES, 1);
    expect(encodePages({ by: "target", base: BASE, block: "ram0", first: 0, pages: [null, page] }).at(-1)).toBe(page);
  });

  it("are refused when cut anywhere, or longer than they say", () => {
    const request = encodeRequest({
      by: "target",
      of: "source",
      base: BASE,
      runs: [
        { block: "ram0", first: 7, count: 3 },
        { block: "", first: 0, count: 1 },
      ],
    });
    const answer = Buffer.concat(
      encodePages(answerOf({ by: "escrow", base: BASE, block: "ram0", first: 3, fills: [1, 0, 2] })),
    );
    for (const [decode, whole] of [[decodeRequest, request] as const, [decodePages, answer] as const]) {
      for (let cut = 0; cut < whole.length; cut += 1)
        expect(() => decode(whole.subarray(0, cut))).toThrow(PageFrameError);
      expect(() => decode(Buffer.concat([whole, Buffer.of(0)]))).toThrow(/too long/);
    }
  });

  it("are refused as garbage with nothing but their own error, and hold no more than came", () => {
    const kinds = fc.constantFrom(FRAME_REQUEST, FRAME_PAGES);
    fc.assert(
      fc.property(fc.option(kinds), fc.uint8Array({ maxLength: 300 }), (kind, garbage) => {
        const bytes = Buffer.from(kind === null ? garbage : [kind, ...garbage]);
        refusedOrNot(decodeRequest, bytes);
        refusedOrNot(decodePages, bytes);
        refusedOrNot(wantedBy, bytes);
      }),
      { numRuns: 1000 },
    );
    // The largest numbers that there are, and nothing behind them.
    const request = Buffer.of(FRAME_REQUEST, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 255, 255);
    expect(() => decodeRequest(request)).toThrow(PageFrameError);
    const answer = Buffer.concat([
      Buffer.of(FRAME_PAGES, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 255, 255),
      Buffer.alloc(8192, 255),
    ]);
    expect(() => decodePages(answer)).toThrow(PageFrameError);
  });

  it("are refused, or are other frames, when any bit is wrong: never anything else", () => {
    const whole = Buffer.concat([
      encodeRequest({ by: "target", of: "source", base: BASE, runs: [{ block: "ram0", first: 7, count: 3 }] }),
    ]);
    const short = Buffer.concat(
      encodePages(answerOf({ by: "target", base: BASE, block: "ram0", first: 3, fills: [0, 0, 0] })),
    );
    for (const [decode, frame] of [[decodeRequest, whole] as const, [decodePages, short] as const]) {
      for (let bit = 0; bit < frame.length * 8; bit += 1) {
        const bad = Buffer.from(frame);
        bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        refusedOrNot(decode, bad);
      }
    }
  });

  it("are not made of what they cannot carry", () => {
    const run = { block: "ram0", first: 0, count: 1 };
    const ask = (runs: (typeof run)[]): unknown => encodeRequest({ by: "target", of: "source", base: BASE, runs });
    const page = Buffer.alloc(PAGE_BYTES);
    expect(() => ask([{ ...run, count: 0 }])).toThrow(RangeError);
    expect(() => ask([{ ...run, count: RUN_PAGES_MAX + 1 }])).toThrow(RangeError);
    expect(() => ask([{ ...run, first: 2 ** 32 }])).toThrow(RangeError);
    expect(() => ask([{ ...run, block: "x".repeat(256) }])).toThrow(RangeError);
    expect(() => ask(Array.from({ length: 5000 }, () => run))).toThrow(RangeError);
    expect(() => encodeRequest({ by: "target", of: "source", base: "0", runs: [run] })).toThrow(RangeError);
    const answer = { by: "target" as const, base: BASE, block: "ram0", first: 0 };
    expect(() => encodePages({ ...answer, pages: [] })).toThrow(RangeError);
    expect(() => encodePages({ ...answer, pages: [Buffer.alloc(1)] })).toThrow(RangeError);
    expect(() => encodePages({ ...answer, block: "x".repeat(256), pages: [page] })).toThrow(RangeError);
    expect(() => encodePages({ ...answer, pages: Array.from({ length: 65 }, () => null) })).toThrow(RangeError);
  });
});
