import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { BITMAP_END, RETURN_MESSAGE, StreamError } from "./format.ts";
import { StreamReader, type StreamRecord } from "./reader.ts";
import type { ReturnMessage } from "./return-path.ts";
import { be32, be64, counted } from "./writer.ts";

/** What the tests of this folder share: recorded streams, and reading in pieces. */

const SAMPLES = join(import.meta.dirname, "../../../fixtures/streams");
export const VERSIONS = ["7.2", "10.0", "11.1"] as const;

/** A recording of fixtures/streams: `post-copy-7.2.forward`. */
export function sample(name: string): Buffer {
  return gunzipSync(readFileSync(join(SAMPLES, `${name}.gz`)));
}

type Distributed<T> = T extends unknown ? Omit<T, "raw"> : never;
/** A record without its bytes, which outlives the reader's window. */
export type Kept = Distributed<StreamRecord>;

export interface Reading {
  readonly records: Kept[];
  /** Where each record ends. */
  readonly ends: number[];
  readonly raw: Buffer;
  readonly error: StreamError | null;
  readonly held_bytes: number;
  /** The most that was held between two pushes. */
  readonly held_most: number;
  readonly ram_section_id: number | null;
}

export interface ReadOptions {
  readonly from?: "header" | "top";
  /** Lengths of the pieces, again and again; one piece if there are none. */
  readonly chunks?: readonly number[];
  /** Whether the reader is told that the stream ended, default true. */
  readonly end?: boolean;
}

/** Reads a stream in pieces. An error of another kind than StreamError goes through. */
export function readStream(stream: Buffer, { from = "header", chunks = [], end = true }: ReadOptions = {}): Reading {
  const records: Kept[] = [];
  const ends: number[] = [];
  const raws: Buffer[] = [];
  let [at, held_most] = [0, 0];
  let error: StreamError | null = null;
  const reader = new StreamReader(({ raw, ...record }) => {
    // Views are good until the next push.
    for (const [key, value] of Object.entries(record))
      if (Buffer.isBuffer(value)) Object.assign(record, { [key]: Buffer.from(value) });
    records.push(record);
    raws.push(Buffer.from(raw));
    at += raw.length;
    ends.push(at);
  }, from);
  try {
    for (const piece of pieces(stream, chunks)) {
      reader.push(piece);
      held_most = Math.max(held_most, reader.held_bytes);
    }
    if (end) reader.end();
  } catch (thrown) {
    if (!(thrown instanceof StreamError)) throw thrown;
    error = thrown;
  }
  const { held_bytes, ram_section_id } = reader;
  return { records, ends, raw: Buffer.concat(raws), error, held_bytes, held_most, ram_section_id };
}

/** Copies, so that whoever reads beyond a piece is found out. */
export function* pieces(stream: Buffer, chunks: readonly number[]): Generator<Buffer> {
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const length = chunks[turn % chunks.length] ?? stream.length;
    yield Buffer.from(stream.subarray(at, at + length));
    at += length;
  }
}

/** Lengths of pieces, small and large. */
export const chunkings = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 100_000 })), {
  minLength: 1,
  maxLength: 20,
});

/** A stream in which every part has but a few pages, and the description is empty: for tests that read it very often. */
export function shortened(stream: Buffer, from: "header" | "top" = "header"): Buffer {
  const kept: Buffer[] = [];
  let pages = 0;
  const reader = new StreamReader((record) => {
    if (record.kind === "ram-section") pages = 0;
    if (record.kind === "ram-page") pages += 1;
    // Where a page names its block is seen in its length: 4096 or 1 byte of content, 8 of flags.
    const named = record.kind === "ram-page" && record.raw.length > (record.bytes === null ? 9 : 4104);
    if (record.kind === "ram-page" && pages > 2 && !named) return;
    kept.push(record.kind === "description" ? Buffer.from("06000000027b7d", "hex") : Buffer.from(record.raw));
  }, from);
  reader.push(stream);
  reader.end();
  return Buffer.concat(kept);
}

/** Type, length, data. */
export function returnMessage(type: number, ...data: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(data);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(bytes.length, 2);
  return Buffer.concat([head, bytes]);
}

/** A message of the return path as migration/migration.c and migration/ram.c of QEMU write it. */
export function written(said: ReturnMessage): Buffer {
  switch (said.kind) {
    case "shut":
      return returnMessage(RETURN_MESSAGE.shut, be32(said.value));
    case "pong":
      return returnMessage(RETURN_MESSAGE.pong, be32(said.value));
    case "request":
      return said.block === null
        ? returnMessage(RETURN_MESSAGE.requestPages, be64(said.start), be32(said.bytes))
        : returnMessage(RETURN_MESSAGE.requestPagesOfBlock, be64(said.start), be32(said.bytes), counted(said.block));
    case "received": {
      const end = Buffer.alloc(8);
      end.writeBigUInt64BE(BITMAP_END);
      const head = returnMessage(RETURN_MESSAGE.receivedBitmap, counted(said.block));
      return Buffer.concat([head, be64(said.pages.length), said.pages, end]);
    }
    case "resume-ack":
      return returnMessage(RETURN_MESSAGE.resumeAck, be32(said.value));
    case "switchover-ack":
      return returnMessage(RETURN_MESSAGE.switchoverAck);
  }
}
