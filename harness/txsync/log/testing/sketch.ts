import fc from "fast-check";
import { PAGE_BYTES } from "../../../base/page.ts";
import { frameNumber, generation, type LogState, transactionNumber } from "../../core/index.ts";
import { blockSeed, DigestSum, pageLanes } from "../digest.ts";
import type { TransactionLog } from "../log.ts";
import { encodeFileHeader, encodeMark } from "../log-format.ts";
import type { ModifiedSet, PartPiece, RecordHead } from "../record.ts";
import { encodeRecord } from "../record-encoder.ts";
import { batchOf, decodeRecord, type RecordPage } from "../whole-record.ts";

export const BLOCKS = [
  { name: "ram0", bytes: 16 * PAGE_BYTES },
  { name: "pc.bios", bytes: 4 * PAGE_BYTES },
];

/** A guest's memory as a test tells it: every page is one byte all over, 0 is the page of zeros. */
export type Fills = ReadonlyMap<string, number>;
export type PageFill = readonly [block: number, page: number, fill: number];

/** What a guest of these few pages has done by a transaction. */
export interface Model {
  readonly n: number;
  readonly pages: Fills;
  readonly device: string;
  readonly frames: readonly string[];
  readonly mark: number;
  readonly acked: number;
}

export interface Sketch {
  readonly cumulative: boolean;
  readonly pages: readonly PageFill[];
  readonly frames: number;
}

export const sketches: fc.Arbitrary<Sketch> = fc.record({
  cumulative: fc.boolean(),
  pages: fc.array(
    fc.oneof(fc.tuple(fc.constant(0), fc.nat(15), fc.nat(255)), fc.tuple(fc.constant(1), fc.nat(3), fc.nat(255))),
    { maxLength: 5 },
  ),
  frames: fc.nat(3),
});

export const NOTHING: Model = { n: 0, pages: new Map(), device: "", frames: [], mark: 0, acked: 0 };

/** The guest goes on: the model after it, and the record that says so. */
export function goOn(before: Model, sketch: Sketch): { readonly model: Model; readonly record: Buffer } {
  const n = before.n + 1;
  const changed = new Map(sketch.pages.map(([block, page, fill]) => [`${block}:${page}`, fill]));
  const pages = new Map([...before.pages, ...changed]);
  const mark = before.mark + sketch.frames;
  const acked = Math.max(before.acked, before.mark - 2);
  const since = sketch.cumulative || n === 1 ? "base" : n - 1;
  const frames = Array.from({ length: mark - acked }, (_, i) => `frame ${acked + 1 + i}`);
  const model: Model = { n, pages, device: `device ${n}`, frames, mark, acked };
  return {
    model,
    record: recordOf({ n, since, mark, acked, frames, pages: since === "base" ? pages : changed, all: pages }),
  };
}

export interface RecordSketch {
  readonly n: number;
  readonly since: number | "base";
  readonly mark?: number;
  readonly acked?: number;
  readonly generation?: number;
  readonly frames?: readonly string[];
  /** What the record has. */
  readonly pages: Fills;
  /** What the digest is of; the pages where it is left out. */
  readonly all?: Fills;
  readonly blocks?: typeof BLOCKS;
}

/** A record as bytes, right or wrong: its digest is of `all`, whatever pages it has. */
export function recordOf(sketch: RecordSketch): Buffer {
  const { n, since, mark = 0, acked = 0, frames = [], pages, blocks = BLOCKS } = sketch;
  const head: RecordHead = {
    generation: generation(sketch.generation ?? 1),
    n: transactionNumber(n),
    since: since === "base" ? since : transactionNumber(since),
    mark: frameNumber(mark),
    acked: frameNumber(acked),
  };
  return Buffer.concat([
    ...encodeRecord({
      head,
      blocks,
      device_state: Buffer.from(`device ${n}`),
      frames: frames.map((text) => ({
        number: frameNumber(Number(text.slice(6))),
        channel: 2,
        bytes: Buffer.from(text),
      })),
      pages: [batchOf(pagesOfFills(pages))],
      end: () => modifiedOf(sketch.all ?? pages),
    }),
  ]);
}

function pagesOfFills(fills: Fills): RecordPage[] {
  return [...fills].map(([place, fill]) => {
    const [block = 0, page = 0] = place.split(":").map(Number);
    return { block, page, bytes: fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill) };
  });
}

export function modifiedOf(fills: Fills): ModifiedSet {
  const sum = new DigestSum();
  for (const { block, page, bytes } of pagesOfFills(fills)) {
    const { lane1, lane2 } = pageLanes(blockSeed(BLOCKS[block]?.name ?? ""), page, bytes);
    sum.add(lane1, lane2);
  }
  return { modified_pages: sum.pages, digest: sum.hex };
}

/** Sends a record to the log as it would come over the wire, and commits it. */
export async function store(log: TransactionLog, record: Buffer, piece_bytes = 3000): Promise<LogState> {
  const incoming = log.begin();
  for (let at = 0; at < record.length; at += piece_bytes) await incoming.push(record.subarray(at, at + piece_bytes));
  await incoming.finish();
  return incoming.commit();
}

/** Bytes of the log's last transaction as one record. */
export async function readWhole(log: TransactionLog, since: number | "base" = "base"): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of log.read(since === "base" ? since : transactionNumber(since))) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** What the log gives back. */
export async function modelOf(log: TransactionLog): Promise<Model> {
  if (log.state === null) return NOTHING;
  return modelOfRecord(await readWhole(log));
}

/** @param over what the record goes on from, where it is not since the base */
export function modelOfRecord(bytes: Buffer, over: Fills = new Map()): Model {
  const { head, blocks, pages, device_state, frames } = decodeRecord(bytes);
  const fills = new Map(over);
  for (const { block, page, bytes } of pages) {
    if (bytes?.some((byte) => byte !== bytes[0])) throw new Error(`page ${block}:${page} is of several records`);
    const number = BLOCKS.findIndex(({ name }) => name === blocks[block]?.name);
    fills.set(`${number}:${page}`, bytes?.[0] ?? 0);
  }
  return {
    n: head.n,
    pages: fills,
    device: device_state.toString(),
    frames: frames.map(({ bytes }) => Buffer.from(bytes).toString()),
    mark: head.mark,
    acked: head.acked,
  };
}

/** A model as plain values, to compare. */
export function plain(model: Model): unknown {
  return { ...model, pages: [...model.pages].sort(([a], [b]) => (a < b ? -1 : 1)) };
}

/** A log file of these records, whatever is wrong with them, each with its mark. */
export function logFileOf(records: readonly Buffer[]): Buffer {
  const pieces = [encodeFileHeader("00112233445566778899aabbccddeeff")];
  for (const record of records) {
    const crc = record.readUInt32BE(record.length - 8);
    pieces.push(record, encodeMark(decodeRecord(record).head.n, crc, crc));
  }
  return Buffer.concat(pieces);
}

/** A record with one page and these pieces of other parts. */
export function recordWithParts(n: number, since: number | "base", parts: readonly PartPiece[]): Buffer {
  const fills = new Map([["0:1", 1]]);
  return Buffer.concat([
    ...encodeRecord({
      head: {
        generation: generation(1),
        n: transactionNumber(n),
        since: since === "base" ? since : transactionNumber(since),
        mark: frameNumber(0),
        acked: frameNumber(0),
      },
      blocks: BLOCKS,
      device_state: Buffer.from(`device ${n}`),
      frames: [],
      pages: [batchOf([{ block: 0, page: 1, bytes: Buffer.alloc(PAGE_BYTES, 1) }])],
      parts,
      end: () => modifiedOf(fills),
    }),
  ]);
}
