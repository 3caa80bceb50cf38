import { crc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { frameNumber, generation, transactionNumber } from "../core/index.ts";
import { CHUNK_BYTES_MAX, HEADER_BYTES, RecordError, type RecordHead } from "./record.ts";
import { encodeRecord, encodeRecordAsRead, RecordEncoder } from "./record-encoder.ts";
import { type RecordEvent, RecordParser } from "./record-parser.ts";
import { BLOCKS, goOn, type Model, modelOfRecord, NOTHING, plain, recordOf, sketches } from "./testing/sketch.ts";
import { batchOf, decodeRecord } from "./whole-record.ts";

const SMALL = recordOf({ n: 1, since: "base", mark: 1, frames: ["frame 1"], pages: new Map([["0:2", 9]]) });
const HEAD: RecordHead = {
  generation: generation(1),
  n: transactionNumber(1),
  since: "base",
  mark: frameNumber(9),
  acked: frameNumber(0),
};
const CRC_AT = HEADER_BYTES - 4;

/** With every checksum put right again: what a peer could say, not what a wire does. */
function resealed(bytes: Buffer): Buffer {
  const out = Buffer.from(bytes);
  out.writeUInt32BE(crc32(out.subarray(0, CRC_AT)), CRC_AT);
  out.writeUInt32BE(crc32(out.subarray(0, out.length - 8)), out.length - 8);
  return out;
}

function changed(change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(SMALL);
  change(bytes);
  return resealed(bytes);
}

/** Places in SMALL of the chunks, in order: blocks, device, frames, pages, end. */
function chunksOf(bytes: Buffer): number[] {
  const places: number[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; at += 5 + bytes.readUInt32BE(at + 1)) places.push(at);
  return places;
}

describe("a record", () => {
  it("comes out as it went in, in pieces of any size", () => {
    fc.assert(
      fc.property(
        fc.array(sketches, { minLength: 1, maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 8 }),
        (steps, cuts) => {
          let model: Model = NOTHING;
          for (const sketch of steps) {
            const before = model;
            const next = goOn(model, sketch);
            model = next.model;
            const parser = new RecordParser();
            const events: RecordEvent["kind"][] = [];
            for (let at = 0, i = 0; at < next.record.length; i += 1) {
              const step = cuts[i % cuts.length] ?? 1;
              for (const event of parser.push(next.record.subarray(at, at + step))) events.push(event.kind);
              at += step;
            }
            parser.finish();
            expect(parser.length).toBe(next.record.length);
            expect(events.filter((kind) => kind === "header" || kind === "end")).toEqual(["header", "end"]);
            const { since } = decodeRecord(next.record).head;
            expect(plain(modelOfRecord(next.record, since === "base" ? undefined : before.pages))).toEqual(
              plain(model),
            );
          }
        },
      ),
      { numRuns: 50 },
    );
  });

  it("says of every part where it lies", () => {
    for (const event of new RecordParser().push(SMALL)) {
      if (event.kind === "device") expect(SMALL.subarray(event.at, event.at + event.bytes.length)).toEqual(event.bytes);
      if (event.kind === "pages") {
        expect(SMALL.subarray(event.content_at, event.content_at + PAGE_BYTES)).toEqual(Buffer.alloc(PAGE_BYTES, 9));
      }
      for (const frame of event.kind === "frames" ? event.frames : [])
        expect(SMALL.subarray(frame.at, frame.at + frame.bytes.length).toString()).toBe("frame 1");
    }
  });

  it("is written in pieces of a bounded size, whatever its parts are", async () => {
    const pages = Array.from({ length: 300 }, (_, page) => ({
      block: 0,
      page,
      bytes: page % 7 === 0 ? null : Buffer.alloc(PAGE_BYTES, page),
    }));
    const parts = {
      head: HEAD,
      blocks: [{ name: "ram0", bytes: 300 * PAGE_BYTES }],
      device_state: Buffer.alloc(700_000, 5),
      frames: Array.from({ length: 9 }, (_, i) => ({
        number: frameNumber(i + 1),
        channel: 1,
        bytes: Buffer.alloc(65_536, i),
      })),
      pages: [batchOf(pages)],
      end: () => ({ modified_pages: 300, digest: "0123456789abcdef" }),
    };
    const pieces = [...encodeRecord(parts)];
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThanOrEqual(256 * 1024 + 600);
    const as_read: Buffer[] = [];
    const batches = (async function* () {
      for (let at = 0; at < 300; at += 70) yield batchOf(pages.slice(at, at + 70));
    })();
    for await (const piece of encodeRecordAsRead({ ...parts, pages: batches })) as_read.push(piece);
    expect(decodeRecord(Buffer.concat(as_read)).pages).toEqual(pages);
    const back = decodeRecord(Buffer.concat(pieces));
    expect(back.pages).toEqual(pages);
    expect(back.device_state).toEqual(parts.device_state);
    expect(back.frames.map(({ bytes }) => bytes)).toEqual(parts.frames.map(({ bytes }) => bytes));
    expect(back).toMatchObject({ digest: "0123456789abcdef", modified_pages: 300 });
  });

  it("is not written when its parts do not make one", () => {
    const page = (block: number, page: number) => ({ block, page, bytes: Buffer.alloc(PAGE_BYTES, 1) });
    const [one, two] = [batchOf([page(0, 2)]), batchOf([page(0, 1)])];
    const encoder = new RecordEncoder();
    expect(() => [one, two].flatMap((batch) => [...encoder.pages(batch)])).toThrow(/page 1 of block 0 after page 2/);
    expect(() => [...new RecordEncoder().pages({ ...one, content: Buffer.alloc(1) })]).toThrow(/too little content/);
    expect(() => [...new RecordEncoder().pages({ ...one, content: Buffer.alloc(8192) })]).toThrow(/too many/);
    expect(() => new RecordEncoder().end({ modified_pages: 0, digest: "12" })).toThrow(/digest/);
  });

  it("is refused when any bit is wrong, at the latest at its end", () => {
    for (let bit = 0; bit < SMALL.length * 8; bit += bit < 2400 ? 1 : 997) {
      const bad = Buffer.from(SMALL);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const parser = new RecordParser();
      expect(() => {
        parser.push(bad);
        parser.finish();
      }, `bit ${bit}`).toThrow(RecordError);
    }
  });

  it("is refused when it is cut, or when something follows it", () => {
    for (let cut = 0; cut < SMALL.length; cut += cut < 300 ? 1 : 61) {
      expect(() => decodeRecord(SMALL.subarray(0, cut))).toThrow(RecordError);
    }
    expect(() => decodeRecord(Buffer.concat([SMALL, Buffer.of(0)]))).toThrow(/behind its end/);
    const parser = new RecordParser();
    expect(parser.feed(Buffer.concat([SMALL, Buffer.from("next")])).used).toBe(SMALL.length);
  });

  it("stays refused", () => {
    const parser = new RecordParser();
    expect(() => parser.push(Buffer.alloc(100))).toThrow(RecordError);
    expect(() => parser.push(SMALL)).toThrow(RecordError);
    expect(() => parser.finish()).toThrow(RecordError);
  });

  it("of an older version is refused in a clear sentence", () => {
    const one = Buffer.from(SMALL);
    one.writeUInt16BE(1, 4);
    expect(() => decodeRecord(one)).toThrow("it is of version 1, of an older Ferryman; this one reads version 3 only");
  });

  it("is refused when it contradicts itself, though its checksums are right", () => {
    const [blocks = 0, device = 0, frames = 0, pages = 0, end = 0] = chunksOf(SMALL);
    const cases: [RegExp, (bytes: Buffer) => void][] = [
      [/unknown kind 7/, (bytes) => bytes.writeUInt8(7, device)],
      [/device state out of order/, (bytes) => bytes.writeUInt8(2, blocks)],
      [/blocks out of order/, (bytes) => bytes.writeUInt8(1, device)],
      [/frames out of order/, (bytes) => bytes.writeUInt8(3, blocks)],
      [/an end of \d+ bytes/, (bytes) => bytes.writeUInt8(0, device)],
      [/of \d+ bytes/, (bytes) => bytes.writeUInt32BE(CHUNK_BYTES_MAX + 1, device + 1)],
      [/blocks are cut off/, (bytes) => bytes.writeUInt8(255, blocks + 5)],
      [/frame 0 out of order/, (bytes) => bytes.writeBigUInt64BE(0n, frames + 5)],
      [/frame 2 out of order/, (bytes) => bytes.writeBigUInt64BE(2n, frames + 5)],
      [/far too high/, (bytes) => bytes.writeBigUInt64BE(2n ** 60n, frames + 5)],
      [/frames are cut off/, (bytes) => bytes.writeUInt32BE(99, frames + 14)],
      [/ 0 pages/, (bytes) => bytes.writeUInt32BE(0, pages + 5)],
      [/ 300 pages/, (bytes) => bytes.writeUInt32BE(300, pages + 5)],
      [/page 16 of block 0, which is nowhere/, (bytes) => bytes.writeUInt32BE(16, pages + 13)],
      [/page 2 of block 2, which is nowhere/, (bytes) => bytes.writeUInt32BE(2, pages + 9)],
      [/0 pages with 4096 bytes/, (bytes) => bytes.writeUInt32BE(0x8000_0000, pages + 9)],
      [/has 1 pages and says 2/, (bytes) => bytes.writeBigUInt64BE(2n, end + 5)],
      [/1 pages of a modified set of 0/, (bytes) => bytes.writeBigUInt64BE(0n, end + 13)],
      [/flags/, (bytes) => bytes.writeUInt16BE(1, 6)],
      [/far too high/, (bytes) => bytes.writeBigInt64BE(-2n, 24)],
    ];
    for (const [what, change] of cases) expect(() => decodeRecord(changed(change)), String(what)).toThrow(what);
  });

  it("is refused when its pages do not ascend", () => {
    const two = recordOf({
      n: 1,
      since: "base",
      pages: new Map([
        ["0:2", 0],
        ["0:3", 0],
        ["1:0", 0],
      ]),
    });
    const pages = chunksOf(two)[2] ?? 0;
    const cases: [RegExp, (bytes: Buffer) => void][] = [
      [/page 2 of block 0 out of order/, (bytes) => bytes.writeUInt32BE(2, pages + 21)],
      [/page 0 of block 0 out of order/, (bytes) => bytes.writeUInt32BE(0x8000_0000, pages + 25)],
    ];
    for (const [what, change] of cases) {
      const bytes = Buffer.from(two);
      change(bytes);
      expect(() => decodeRecord(resealed(bytes))).toThrow(what);
    }
  });

  it("with a block twice is refused", () => {
    const twice = [BLOCKS[0], BLOCKS[0]] as typeof BLOCKS;
    expect(() => decodeRecord(recordOf({ n: 1, since: "base", pages: new Map(), blocks: twice }))).toThrow(/twice/);
  });
});
