import { PAGE_BYTES } from "../../base/page.ts";
import type { Role } from "../core/index.ts";
import type { PageRun } from "../dirty/pages.ts";

/**
 * What agents say to each other about pages; payloads of `data` frames, big-endian. Who asks keeps the account, who
 * answers keeps none: a question may be asked again, of anybody who has the base, and an answer may come twice. Both
 * name the base they mean (8 bytes): a page of another one, of a guest that still ran, say, is never taken for it.
 *
 *     request  u8 1 | u8 wanted by | base | u8 asked of | u16 runs | (u8 length, block, u32 first, u16 count)*
 *     pages    u8 2 | u8 wanted by | base | u8 length, block | u32 first | u16 count | count bits: full | the full ones,
 *              4096 each
 */
export const FRAME_REQUEST = 1;
export const FRAME_PAGES = 2;
/** Pages in one answer: 256 KiB, so that what is urgent does not wait long behind it. */
export const RUN_PAGES_MAX = 64;
const RUNS_MAX = 4096;
const BASE_BYTES = 8;
const ROLES: readonly Role[] = ["source", "target", "escrow"];

export interface PageRequest {
  /** Who wants the pages, and who is to answer: between them somebody may pass it on. */
  readonly by: Role;
  readonly of: Role;
  /** 16 hexadecimal digits. */
  readonly base: string;
  readonly runs: readonly PageRun[];
}

/** Pages in a row; `null` for one that is all zeros. */
export interface PageAnswer {
  readonly by: Role;
  readonly base: string;
  readonly block: string;
  readonly first: number;
  readonly pages: readonly (Uint8Array | null)[];
}

export class PageFrameError extends Error {
  override readonly name = "PageFrameError";
}

export function encodeRequest({ by, of, base, runs }: PageRequest): Buffer {
  if (runs.length > RUNS_MAX) throw new RangeError(`a request of ${runs.length} runs`);
  const rest = Buffer.of(ROLES.indexOf(of), runs.length >> 8, runs.length & 255);
  const pieces: Buffer[] = [head(FRAME_REQUEST, by, base), rest];
  for (const { block, first, count } of runs) {
    if (count < 1 || count > RUN_PAGES_MAX) throw new RangeError(`a run of ${count} pages`);
    const name = nameOf(block);
    const place = Buffer.allocUnsafe(6);
    place.writeUInt32BE(first, 0);
    place.writeUInt16BE(count, 4);
    pieces.push(Buffer.of(name.length), name, place);
  }
  return Buffer.concat(pieces);
}

/** @throws PageFrameError when these bytes are no request. */
export function decodeRequest(bytes: Buffer): PageRequest {
  const read = new Reader(bytes, FRAME_REQUEST);
  const [by, base, of] = [read.role(), read.base(), read.role()];
  const count = read.u16();
  if (count > RUNS_MAX) throw new PageFrameError(`a request of ${count} runs`);
  const runs: PageRun[] = [];
  for (let i = 0; i < count; i += 1) {
    const run = { block: read.name(), first: read.u32(), count: read.u16() };
    if (run.count < 1 || run.count > RUN_PAGES_MAX) throw new PageFrameError(`a run of ${run.count} pages`);
    runs.push(run);
  }
  read.end();
  return { by, of, base, runs };
}

/** The pieces of an answer; pages are not copied. */
export function encodePages({ by, base, block, first, pages }: PageAnswer): Uint8Array[] {
  if (pages.length < 1 || pages.length > RUN_PAGES_MAX) throw new RangeError(`an answer of ${pages.length} pages`);
  const name = nameOf(block);
  const place = Buffer.allocUnsafe(6);
  place.writeUInt32BE(first, 0);
  place.writeUInt16BE(pages.length, 4);
  const bits = Buffer.alloc(Math.ceil(pages.length / 8));
  const full: Uint8Array[] = [];
  let row: Uint8Array | undefined;
  let row_pages = 0;
  // What lies in a row stays in one piece: 64 small ones cost several times as much on their way to the socket.
  const endRow = (): void => {
    if (row_pages === 1 && row !== undefined) full.push(row);
    else if (row !== undefined) full.push(Buffer.from(row.buffer, row.byteOffset, row_pages * PAGE_BYTES));
  };
  for (const [i, bytes] of pages.entries()) {
    if (bytes === null) continue;
    if (bytes.length !== PAGE_BYTES) throw new RangeError(`a page of ${bytes.length} bytes`);
    bits[i >> 3] = (bits[i >> 3] as number) | (1 << (i & 7));
    if (row?.buffer === bytes.buffer && row.byteOffset + row_pages * PAGE_BYTES === bytes.byteOffset) {
      row_pages += 1;
      continue;
    }
    endRow();
    row = bytes;
    row_pages = 1;
  }
  endRow();
  return [head(FRAME_PAGES, by, base), Buffer.of(name.length), name, place, bits, ...full];
}

/** @throws PageFrameError when these bytes are no answer. */
export function decodePages(bytes: Buffer): PageAnswer {
  const read = new Reader(bytes, FRAME_PAGES);
  const [by, base] = [read.role(), read.base()];
  const [block, first, count] = [read.name(), read.u32(), read.u16()];
  if (count < 1 || count > RUN_PAGES_MAX) throw new PageFrameError(`an answer of ${count} pages`);
  const bits = read.take(Math.ceil(count / 8));
  const pages: (Buffer | null)[] = [];
  for (let i = 0; i < count; i += 1) {
    pages.push(((bits[i >> 3] as number) & (1 << (i & 7))) === 0 ? null : read.take(PAGE_BYTES));
  }
  read.end();
  return { by, base, block, first, pages };
}

/** For whom an answer is, without reading the rest. */
export function wantedBy(bytes: Buffer): Role {
  const role = ROLES[bytes[1] ?? 255];
  if (role === undefined) throw new PageFrameError("a frame for nobody");
  return role;
}

function head(kind: number, by: Role, base: string): Buffer {
  if (!/^[0-9a-f]{16}$/.test(base)) throw new RangeError(`a base named ${base}`);
  return Buffer.concat([Buffer.of(kind, ROLES.indexOf(by)), Buffer.from(base, "hex")]);
}

function nameOf(block: string): Buffer {
  const name = Buffer.from(block);
  if (name.length > 255) throw new RangeError(`a RAM block's name of ${name.length} bytes`);
  return name;
}

class Reader {
  readonly #bytes: Buffer;
  #at = 1;

  constructor(bytes: Buffer, kind: number) {
    this.#bytes = bytes;
    if (bytes[0] !== kind) throw new PageFrameError(`frame kind ${bytes[0]} instead of ${kind}`);
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw new PageFrameError("it is cut off");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  u16(): number {
    return this.take(2).readUInt16BE(0);
  }

  u32(): number {
    return this.take(4).readUInt32BE(0);
  }

  name(): string {
    return this.take(this.take(1)[0] as number).toString();
  }

  base(): string {
    return this.take(BASE_BYTES).toString("hex");
  }

  role(): Role {
    const role = ROLES[this.take(1)[0] as number];
    if (role === undefined) throw new PageFrameError("a role that nobody has");
    return role;
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new PageFrameError("it is too long");
  }
}
