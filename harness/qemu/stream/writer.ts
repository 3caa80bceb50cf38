import { PAGE_BYTES } from "../../base/page.ts";
import { COMMAND, RAM_FLAG, RAM_SECTION, RAM_SECTION_VERSION, RECORD, STREAM_MAGIC, STREAM_VERSION } from "./format.ts";

/** Pieces of a migration stream, as QEMU writes them. */
export interface PageToWrite {
  readonly block: string;
  /** Number of the page in its block. */
  readonly page: number;
  /** 4096 bytes; null for a page of zeros. */
  readonly bytes: Uint8Array | null;
}

export function command(number: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(RECORD.command, 0);
  head.writeUInt16BE(number, 1);
  head.writeUInt16BE(data.length, 3);
  return Buffer.concat([head, data]);
}

/** The target answers with a pong of the same number when it has read everything before. */
export function ping(value: number): Buffer {
  return command(COMMAND.ping, be32(value));
}

/** Device state as one piece, so that the target has it all before it begins to load (savevm.c, qemu_savevm_send_packaged). */
export function packaged(content: Uint8Array): Buffer {
  return Buffer.concat([command(COMMAND.packaged, be32(content.length)), content]);
}

/** Opens the way back, on which the target asks for pages. */
export function openReturnPath(): Buffer {
  return command(COMMAND.openReturnPath);
}

/** Post-copy may follow: what the target has in its blocks goes (savevm.c, loadvm_postcopy_handle_advise). */
export function advise(): Buffer {
  return command(COMMAND.postcopyAdvise, Buffer.concat([be64(PAGE_BYTES), be64(PAGE_BYTES)]));
}

/** From here on the target listens for pages, and whatever is missing is waited for. First command of a package. */
export function listen(): Buffer {
  return command(COMMAND.postcopyListen);
}

/** The VM runs. Last command of a package. */
export function run(): Buffer {
  return command(COMMAND.postcopyRun);
}

/** Pages in a row of one block. */
export interface PageRange {
  readonly first: number;
  readonly count: number;
}

const RANGES_MAX = 4000;

/**
 * What the target has of these pages is not what they are: it throws them away, and they come once more (savevm.c,
 * loadvm_postcopy_ram_handle_discard). A target that is told of none at all refuses to run (harness/qemu/FACTS.md, "Memory ahead").
 * @throws RangeError for none, and for what is no page: QEMU refuses what is not aligned, and ends.
 */
export function discard(block: string, ranges: readonly PageRange[]): Buffer[] {
  if (ranges.length === 0) throw new RangeError(`a discard of no pages of RAM block ${block}`);
  const commands: Buffer[] = [];
  for (let at = 0; at < ranges.length; at += RANGES_MAX) {
    const pieces: Buffer[] = [Buffer.of(0), counted(block), Buffer.of(0)];
    for (const { first, count } of ranges.slice(at, at + RANGES_MAX)) {
      if (!Number.isSafeInteger(first) || !Number.isSafeInteger(count) || first < 0 || count < 1)
        throw new RangeError(`a discard of ${count} pages from ${first} of RAM block ${block}`);
      pieces.push(be64(first * PAGE_BYTES), be64(count * PAGE_BYTES));
    }
    commands.push(command(COMMAND.ramDiscard, Buffer.concat(pieces)));
  }
  return commands;
}

/** Asks a paused target which pages of a block it has. */
export function askReceived(block: string): Buffer {
  return command(COMMAND.receivedBitmap, counted(block));
}

/** Ends the recovery handshake; the target answers with a resume-ack. */
export function resume(): Buffer {
  return command(COMMAND.postcopyResume);
}

/**
 * A part of the RAM section with these pages: whole in itself, so that a stream may go on or end behind it. The pages are
 * copied into it: one piece of 256 KiB costs less to write than two pieces a page.
 * @param take where its memory comes from
 * @throws RangeError for what is no page.
 */
export function ramPart(
  section_id: number,
  pages: readonly PageToWrite[],
  type: typeof RECORD.sectionPart | typeof RECORD.sectionEnd = RECORD.sectionPart,
  take: (bytes: number) => Buffer = Buffer.allocUnsafe,
): [Buffer] {
  let length = 2 * SECTION_HEAD_BYTES + WORD_BYTES;
  let block: string | null = null;
  for (const { block: name, page, bytes } of pages) {
    if (!Number.isSafeInteger(page) || page < 0) throw new RangeError(`a page of number ${page}`);
    if (bytes !== null && bytes.length !== PAGE_BYTES) throw new RangeError(`a page of ${bytes.length} bytes`);
    length += WORD_BYTES + (bytes?.length ?? 1) + (name === block ? 0 : counted(name).length);
    block = name;
  }
  const part = take(length);
  part.set(sectionHead(type, section_id), 0);
  let at = SECTION_HEAD_BYTES;
  block = null;
  for (const { block: name, page, bytes } of pages) {
    const same = name === block;
    block = name;
    const word = page * PAGE_BYTES + (bytes === null ? RAM_FLAG.zero : RAM_FLAG.page) + (same ? RAM_FLAG.sameBlock : 0);
    at = putWord(part, word, at);
    if (!same) {
      const named = counted(name);
      part.set(named, at);
      at += named.length;
    }
    if (bytes === null) part[at] = 0;
    else part.set(bytes, at);
    at += bytes?.length ?? 1;
  }
  at = putWord(part, RAM_FLAG.endOfPart, at);
  part.set(sectionHead(RECORD.footer, section_id), at);
  return [part];
}

/** Eight bytes; the number is below 2^53. @returns where it goes on */
function putWord(into: Buffer, word: number, at: number): number {
  into.writeUInt32BE(Math.floor(word / 2 ** 32), at);
  return into.writeUInt32BE(word % 2 ** 32, at + 4);
}

/** The end of a migration: an empty last part of the RAM section, and the stream's end mark. */
export function endOfMigration(section_id: number): Buffer {
  return Buffer.concat([...ramPart(section_id, [], RECORD.sectionEnd), Buffer.of(RECORD.eof)]);
}

/** The beginning of the RAM section: which blocks there are, in QEMU's order, with the length in use (ram.c, ram_save_setup). */
export function ramStart(
  section_id: number,
  blocks: readonly { readonly name: string; readonly bytes: number }[],
): Buffer {
  const total = blocks.reduce((sum, block) => sum + block.bytes, 0);
  return Buffer.concat([
    sectionHead(RECORD.sectionStart, section_id),
    counted(RAM_SECTION),
    be32(0),
    be32(RAM_SECTION_VERSION),
    be64(total + RAM_FLAG.setup),
    ...blocks.flatMap(({ name, bytes }) => [counted(name), be64(bytes)]),
    be64(RAM_FLAG.endOfPart),
    sectionHead(RECORD.footer, section_id),
  ]);
}

const WORD_BYTES = 8;
const SECTION_HEAD_BYTES = 5;

function sectionHead(type: number, id: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt32BE(id, 1);
  return bytes;
}

export function be32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function be64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A name with its length before it. @throws RangeError for one longer than 255 bytes. */
export function counted(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length > 255) throw new RangeError(`a name of ${bytes.length} bytes`);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

/** First bytes of every stream. */
export const STREAM_HEADER = Buffer.concat([be32(STREAM_MAGIC), be32(STREAM_VERSION)]);
