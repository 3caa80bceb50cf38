import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { messageOf, UserError } from "../base/errors.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { PageSet } from "../txsync/dirty/pages.ts";
import type { SmallBlock } from "../txsync/dirty/small-blocks.ts";

/** All guest RAM as it stood at switchover (B0). */
export interface Base {
  /** Name of the block that is in the file, and the file. */
  readonly block: string;
  readonly path: string;
  /** All blocks but that one. */
  readonly small: readonly SmallBlock[];
}

export interface BuiltRam {
  readonly path: string;
  readonly bytes: number;
  readonly small: readonly SmallBlock[];
  /** Pages written over the base, one for every time that a transaction has it. */
  readonly pages_applied: number;
  readonly copy_ms: number;
  readonly apply_ms: number;
}

const COPY_BYTES = 1 << 20;
/** Copies under way at once: the copy is the kernel's work, and this many of its threads share it. */
const COPIES = 4;
const ZEROS = Buffer.alloc(PAGE_BYTES);

type Log = Iterable<PageSet> | AsyncIterable<PageSet>;

/**
 * Writes base and transactions into a new RAM file, in one pass over the transactions, which have to come in order.
 * Never over a running QEMU's memory: the file must not exist. Removes it again when something fails.
 * @throws UserError when the file exists or the base cannot be read; RangeError for a page outside its block.
 */
export async function buildRamFile(base: Base, transactions: Log, path: string): Promise<BuiltRam> {
  const began_ms = performance.now();
  await using from = await opened(base.path, "r", "cannot read the base");
  await using to = await opened(path, "wx", "the restored RAM needs a new file");
  try {
    const { size: bytes } = await from.stat();
    await to.truncate(bytes);
    await copyWhole(from, to, bytes);
    const copied_ms = performance.now();
    const applied = await applyAll(base, transactions, to, bytes);
    const done_ms = performance.now();
    return { path, bytes, ...applied, copy_ms: copied_ms - began_ms, apply_ms: done_ms - copied_ms };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/**
 * As `buildRamFile`, but makes the base's own file the restored RAM, for where nobody else needs it: no copy, no second
 * 256 MiB. No QEMU may have the base open. May be begun again after a crash in the middle, with the file where it then
 * is, as long as no QEMU has run on it: a transaction's pages are whole, so applying them twice is applying them once.
 */
export async function consumeBase(base: Base, transactions: Log, path: string): Promise<BuiltRam> {
  const began_ms = performance.now();
  await using file = await opened(base.path, "r+", "cannot write the base");
  const { size: bytes } = await file.stat();
  const applied = await applyAll(base, transactions, file, bytes);
  if (path !== base.path) await rename(base.path, path);
  return { path, bytes, ...applied, copy_ms: 0, apply_ms: performance.now() - began_ms };
}

async function opened(path: string, flags: string, what: string): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (error) {
    throw new UserError(`${what}, ${path}: ${messageOf(error)}`);
  }
}

async function applyAll(
  base: Base,
  transactions: Log,
  to: FileHandle,
  bytes: number,
): Promise<Pick<BuiltRam, "small" | "pages_applied">> {
  const small = base.small.map(({ name, content }) => ({ name, content: Buffer.from(content) }));
  let pages_applied = 0;
  for await (const set of transactions) pages_applied += await apply(set, base.block, to, bytes, small);
  return { small, pages_applied };
}

/** Copies by `pread` and `pwrite`: what is all zeros stays a hole, and a hole of the base is never touched. */
async function copyWhole(from: FileHandle, to: FileHandle, bytes: number): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
    const zeros = Buffer.alloc(COPY_BYTES);
    for (;;) {
      const at = next;
      if (at >= bytes) return;
      const length = Math.min(COPY_BYTES, bytes - at);
      next += length;
      const { bytesRead } = await from.read(buffer, 0, length, at);
      if (bytesRead !== length) throw new UserError(`the base ends after ${at + bytesRead} of ${bytes} bytes`);
      if (buffer.compare(zeros, 0, length, 0, length) === 0) continue;
      const { bytesWritten } = await to.write(buffer, 0, length, at);
      if (bytesWritten !== length)
        throw new UserError(`no room for the restored RAM: ${at + bytesWritten} of ${bytes} bytes`);
    }
  };
  await Promise.all(Array.from({ length: COPIES }, worker));
}

async function apply(
  set: PageSet,
  file_block: string,
  to: FileHandle,
  file_bytes: number,
  small: readonly SmallBlock[],
): Promise<number> {
  // Pages in a row are written in one go.
  let run: Buffer[] = [];
  let run_at = 0;
  let pages = 0;
  const flush = async (): Promise<void> => {
    if (run.length === 0) return;
    const { bytesWritten } = await to.writev(run, run_at);
    if (bytesWritten !== run.length * PAGE_BYTES) throw new UserError("no room for the restored RAM");
    run = [];
  };
  for (const { block, page, bytes } of set) {
    const at = page * PAGE_BYTES;
    const content = bytes === null ? ZEROS : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    pages++;
    if (block === file_block) {
      if (at + PAGE_BYTES > file_bytes) throw new RangeError(`page ${page} is outside ${block} of ${file_bytes} bytes`);
      if (run.length > 0 && (at !== run_at + run.length * PAGE_BYTES || run.length >= 512)) await flush();
      if (run.length === 0) run_at = at;
      run.push(content);
      continue;
    }
    const into = small.find(({ name }) => name === block);
    if (into === undefined) throw new RangeError(`a transaction has RAM block ${block}, the base has not`);
    if (at + PAGE_BYTES > into.content.length) throw new RangeError(`page ${page} is outside ${block}`);
    content.copy(into.content, at);
  }
  await flush();
  return pages;
}
