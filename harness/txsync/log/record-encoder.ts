import { crc32 } from "node:zlib";
import { PAGE_BYTES } from "../../base/page.ts";
import {
  CHUNK,
  CHUNK_BYTES_MAX,
  CHUNK_HEAD_BYTES,
  END_BYTES,
  END_CRC_AT,
  END_MAGIC,
  encodeHeader,
  FRAME_HEAD_BYTES,
  type ModifiedSet,
  type OutputFrame,
  PAGE_ENTRY_BYTES,
  PART_HEAD_BYTES,
  type PartPiece,
  type RecordBlock,
  type RecordHead,
  WRITTEN_BYTES_MAX,
  WRITTEN_PAGES_MAX,
  ZERO_FLAG,
} from "./record.ts";

/**
 * Pages as the native spool has them: `entries` 8 bytes each, little-endian (u32 block, bit 31: all zeros; u32 page),
 * `content` of those that are not zero, 4096 each in the same order.
 */
export interface PageBatch {
  readonly entries: Buffer;
  readonly content: Buffer;
}

/** What a record is written from, but for its pages. */
export interface RecordFrame {
  readonly head: RecordHead;
  readonly blocks: readonly RecordBlock[];
  readonly device_state: Uint8Array;
  readonly frames: Iterable<OutputFrame>;
  /** Pieces of the other parts of the state, ascending by number; absent: there are none. */
  readonly parts?: Iterable<PartPiece>;
  /** Asked when the pages are through. */
  readonly end: () => ModifiedSet;
}

export interface RecordParts extends RecordFrame {
  /** Ascending by block and page over all batches, which may be of any size. */
  readonly pages: Iterable<PageBatch>;
}

/**
 * A record in pieces of at most 256 KiB and their heads; each is a copy that nobody else changes.
 * @throws RangeError when the parts do not make a record.
 */
export function* encodeRecord(parts: RecordParts): Generator<Buffer, void> {
  const encoder = new RecordEncoder();
  yield* opening(encoder, parts);
  for (const batch of parts.pages) yield* encoder.pages(batch);
  for (const piece of parts.parts ?? []) yield encoder.part(piece);
  yield encoder.end(parts.end());
}

/** The same for pages that have to be waited for: those of a spool, say. */
export async function* encodeRecordAsRead(
  parts: RecordFrame & { readonly pages: AsyncIterable<PageBatch> },
): AsyncGenerator<Buffer, void> {
  const encoder = new RecordEncoder();
  yield* opening(encoder, parts);
  for await (const batch of parts.pages) yield* encoder.pages(batch);
  for (const piece of parts.parts ?? []) yield encoder.part(piece);
  yield encoder.end(parts.end());
}

function* opening(encoder: RecordEncoder, parts: RecordFrame): Generator<Buffer, void> {
  yield encoder.header(parts.head);
  yield encoder.blocks(parts.blocks);
  yield* encoder.device(parts.device_state);
  for (const frame of parts.frames) yield* encoder.frame(frame);
  yield* encoder.framesDone();
}

/** The chunks of a record one after the other, for whoever gets its parts piece by piece. Call in the record's order. */
export class RecordEncoder {
  #crc = 0;
  #pages = 0;
  #block = -1;
  #page = -1;
  #frames: Buffer[] = [];
  #frame_bytes = 0;

  header(head: RecordHead): Buffer {
    return this.#count(encodeHeader(head));
  }

  blocks(blocks: readonly RecordBlock[]): Buffer {
    const pieces: Buffer[] = [];
    for (const { name, bytes } of blocks) {
      const text = Buffer.from(name);
      if (text.length > 255) throw new RangeError(`the block name ${name} is longer than 255 bytes`);
      const size = Buffer.allocUnsafe(8);
      size.writeBigUInt64BE(BigInt(bytes));
      pieces.push(Buffer.of(text.length), text, size);
    }
    return this.#chunk(CHUNK.blocks, pieces);
  }

  *device(state: Uint8Array): Generator<Buffer, void> {
    for (let at = 0; at < state.length; at += WRITTEN_BYTES_MAX) {
      yield this.#chunk(CHUNK.device, [state.subarray(at, at + WRITTEN_BYTES_MAX)]);
    }
  }

  /** Frames are gathered until they fill a chunk. */
  *frame({ number, channel, bytes }: OutputFrame): Generator<Buffer, void> {
    const length = FRAME_HEAD_BYTES + bytes.length;
    if (length > CHUNK_BYTES_MAX) throw new RangeError(`a frame of ${bytes.length} bytes`);
    if (this.#frame_bytes > 0 && this.#frame_bytes + length > WRITTEN_BYTES_MAX) yield* this.framesDone();
    const head = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    head.writeBigUInt64BE(BigInt(number), 0);
    head.writeUInt8(channel, 8);
    head.writeUInt32BE(bytes.length, 9);
    this.#frames.push(head, Buffer.from(bytes));
    this.#frame_bytes += length;
  }

  *framesDone(): Generator<Buffer, void> {
    if (this.#frame_bytes === 0) return;
    yield this.#chunk(CHUNK.frames, this.#frames);
    this.#frames = [];
    this.#frame_bytes = 0;
  }

  *pages({ entries, content }: PageBatch): Generator<Buffer, void> {
    const total = entries.length / PAGE_ENTRY_BYTES;
    if (!Number.isInteger(total)) throw new RangeError(`a batch with ${entries.length} bytes of entries`);
    let content_at = 0;
    for (let first = 0; first < entries.length; first += WRITTEN_PAGES_MAX * PAGE_ENTRY_BYTES) {
      const some = this.pagesChunk(entries.subarray(first, first + WRITTEN_PAGES_MAX * PAGE_ENTRY_BYTES));
      const end = content_at + some.content.length;
      if (end > content.length) throw new RangeError("a batch of pages with too little content");
      some.content.set(content.subarray(content_at, end));
      yield this.pagesFilled(some.chunk);
      content_at = end;
    }
    if (content_at !== content.length) {
      throw new RangeError(`a batch of ${total} pages with ${content.length - content_at} bytes too many`);
    }
  }

  /**
   * A chunk for these entries, as in a batch, at most 64; its `content` is to be filled, then it is `pagesFilled`.
   * @param take where its memory comes from
   */
  pagesChunk(
    entries: Buffer,
    take: (bytes: number) => Buffer = Buffer.allocUnsafe,
  ): { readonly chunk: Buffer; readonly content: Buffer } {
    let full = 0;
    for (let at = 0; at < entries.length; at += PAGE_ENTRY_BYTES) {
      const word = entries.readUInt32LE(at);
      this.#ascends(word & ~ZERO_FLAG, entries.readUInt32LE(at + 4));
      if ((word & ZERO_FLAG) === 0) full += 1;
    }
    const pages = entries.length / PAGE_ENTRY_BYTES;
    const from = CHUNK_HEAD_BYTES + 4 + entries.length;
    const chunk = take(from + full * PAGE_BYTES);
    chunk.writeUInt8(CHUNK.pages, 0);
    chunk.writeUInt32BE(chunk.length - CHUNK_HEAD_BYTES, 1);
    chunk.writeUInt32BE(pages, CHUNK_HEAD_BYTES);
    chunk.set(entries, CHUNK_HEAD_BYTES + 4);
    chunk.subarray(CHUNK_HEAD_BYTES + 4, from).swap32();
    this.#pages += pages;
    return { chunk, content: chunk.subarray(from) };
  }

  pagesFilled(chunk: Buffer): Buffer {
    return this.#count(chunk);
  }

  part({ name, n, floor, bytes }: PartPiece): Buffer {
    const text = Buffer.from(name);
    if (text.length < 1 || text.length > 255) throw new RangeError(`the name of a part has ${text.length} bytes`);
    if (bytes.length > WRITTEN_BYTES_MAX) throw new RangeError(`a piece of ${bytes.length} bytes of part ${name}`);
    const head = Buffer.allocUnsafe(PART_HEAD_BYTES);
    head.writeBigUInt64BE(BigInt(n), 0);
    head.writeBigUInt64BE(BigInt(floor), 8);
    head.writeUInt8(text.length, 16);
    return this.#chunk(CHUNK.part, [head, text, bytes]);
  }

  end({ modified_pages, digest }: ModifiedSet): Buffer {
    if (!/^[0-9a-f]{16}$/.test(digest)) throw new RangeError(`a digest of ${digest}`);
    const end = Buffer.allocUnsafe(CHUNK_HEAD_BYTES + END_BYTES);
    end.writeUInt8(CHUNK.end, 0);
    end.writeUInt32BE(END_BYTES, 1);
    end.writeBigUInt64BE(BigInt(this.#pages), CHUNK_HEAD_BYTES);
    end.writeBigUInt64BE(BigInt(modified_pages), CHUNK_HEAD_BYTES + 8);
    end.write(digest, CHUNK_HEAD_BYTES + 16, "hex");
    this.#count(end.subarray(0, CHUNK_HEAD_BYTES + END_CRC_AT));
    end.writeUInt32BE(this.#crc, CHUNK_HEAD_BYTES + END_CRC_AT);
    end.writeUInt32BE(END_MAGIC, CHUNK_HEAD_BYTES + END_CRC_AT + 4);
    return end;
  }

  #ascends(block: number, page: number): void {
    if (block < this.#block || (block === this.#block && page <= this.#page)) {
      throw new RangeError(`page ${page} of block ${block} after page ${this.#page} of block ${this.#block}`);
    }
    this.#block = block;
    this.#page = page;
  }

  #chunk(kind: number, payload: readonly Uint8Array[]): Buffer {
    let length = 0;
    for (const piece of payload) length += piece.length;
    if (length > CHUNK_BYTES_MAX) throw new RangeError(`a chunk of ${length} bytes`);
    const chunk = Buffer.allocUnsafe(CHUNK_HEAD_BYTES + length);
    chunk.writeUInt8(kind, 0);
    chunk.writeUInt32BE(length, 1);
    let at = CHUNK_HEAD_BYTES;
    for (const piece of payload) {
      chunk.set(piece, at);
      at += piece.length;
    }
    return this.#count(chunk);
  }

  #count(bytes: Buffer): Buffer {
    this.#crc = crc32(bytes, this.#crc);
    return bytes;
  }
}
