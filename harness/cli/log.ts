import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { messageOf, UserError } from "../base/errors.ts";
import { PAGE_BYTES } from "../base/page.ts";
import { type Files, folder, type LogEntry, type RecordTables, scan, TransactionLog } from "../txsync/log/index.ts";

const LOG_NAME = /^txlog-\d{8}$/;

/** Adds `ferryman log list|verify|extract`: look at a transaction log that a run left behind. Nothing is changed. */
export function registerLog(program: Command): void {
  const log = program.command("log").description("look at a transaction log left in a run folder");
  log
    .command("list <folder>")
    .description("the transactions in it")
    .option("--json", "one JSON object a transaction")
    .action(async (path: string, options: { json?: boolean }) => {
      const { records } = await read(path);
      if (options.json !== true)
        console.log(
          `${"n".padStart(8)} ${"gen".padStart(4)} ${"since".padStart(8)} ${"pages".padStart(8)} ${"bytes".padStart(12)} ${"frames".padStart(7)} ${"mark".padStart(8)}`,
        );
      for (const { entry } of records)
        console.log(options.json === true ? JSON.stringify(summary(entry)) : line(entry));
    });
  log
    .command("verify <folder>")
    .description("check every byte of it; exit code 1 when it does not end with a whole transaction")
    .action(async (path: string) => {
      const { name, records, torn, size } = await read(path);
      const last = records[records.length - 1]?.entry;
      const what = `${name}: ${records.length} whole transactions, ${size} bytes`;
      if (torn === null)
        console.log(`${what}, sound${last === undefined ? "" : `, last ${last.n} of generation ${last.generation}`}`);
      else {
        console.log(`${what}; from byte ${torn.offset} on it is not sound: ${torn.why}`);
        process.exitCode = 1;
      }
    });
  log
    .command("extract <folder>")
    .description("write the RAM image of a transaction: the base with all pages changed up to then")
    .requiredOption("--out <file>", "where to write it")
    .option("--transaction <n>", "which one (default: the last)")
    .option("--block <name>", "which RAM block", "ram0")
    .option("--base <file>", "the base; without it unchanged pages are zeros")
    .action(async (path: string, options: ExtractOptions) => {
      const { n, pages, bytes } = await extract(path, options);
      console.log(`transaction ${n}: ${pages} pages changed since the base, ${bytes} bytes in ${options.out}`);
    });
}

interface ExtractOptions {
  readonly out: string;
  readonly transaction?: string;
  readonly block: string;
  readonly base?: string;
}

interface Found {
  readonly files: Files;
  readonly name: string;
  readonly size: number;
  readonly records: readonly { readonly entry: LogEntry; readonly tables: RecordTables }[];
  readonly torn: { readonly offset: number; readonly why: string } | null;
}

async function read(path: string): Promise<Found> {
  const files = folder(path);
  const names = await files.list().catch((error: unknown) => {
    throw new UserError(`no transaction log in ${path}: ${messageOf(error)}`);
  });
  const name = names
    .filter((candidate) => LOG_NAME.test(candidate))
    .sort()
    .at(-1);
  if (name === undefined) throw new UserError(`no transaction log in ${path}: it holds no file named txlog-NNNNNNNN`);
  const file = await files.open(name, "read");
  try {
    return { files, name, size: await file.size(), ...(await scan(file)) };
  } finally {
    await file.close();
  }
}

/** @throws UserError when there is no such transaction or block. */
export async function extract(
  path: string,
  options: ExtractOptions,
): Promise<{ n: number; pages: number; bytes: number }> {
  const { files, name, records } = await read(path);
  const last = records[records.length - 1]?.entry.n;
  const n = options.transaction === undefined ? last : Number(options.transaction);
  const upTo = records.findIndex(({ entry }) => entry.n === n);
  if (n === undefined || upTo < 0) {
    const there = records.length === 0 ? "none" : `${records[0]?.entry.n} to ${last}`;
    throw new UserError(`no transaction ${options.transaction ?? "at all"} in ${path}: there are ${there}`);
  }
  const pages = TransactionLog.pagesAt(records.slice(0, upTo + 1), options.block);
  if (pages === null) {
    const blocks = new Set(records.flatMap(({ tables }) => tables.blocks.map((block) => block.name)));
    throw new UserError(`no RAM block ${options.block} in ${path}: there are ${[...blocks].join(", ")}`);
  }
  await mkdir(dirname(options.out), { recursive: true });
  const log = await files.open(name, "read");
  const out = await open(options.out, "w");
  try {
    await out.truncate(pages.size);
    if (options.base !== undefined) await copyInto(options.base, out, pages.size);
    for (const [page, offset] of pages.offsets) {
      const bytes = offset < 0 ? Buffer.alloc(PAGE_BYTES) : await log.read(offset, PAGE_BYTES);
      await out.write(bytes, 0, PAGE_BYTES, page * PAGE_BYTES);
    }
    return { n, pages: pages.offsets.size, bytes: pages.size };
  } finally {
    await out.close();
    await log.close();
  }
}

async function copyInto(
  path: string,
  out: { write(b: Buffer, o: number, l: number, p: number): Promise<unknown> },
  size: number,
): Promise<void> {
  const base = await open(path, "r").catch((error: unknown) => {
    throw new UserError(`the base ${path} cannot be read: ${messageOf(error)}`);
  });
  try {
    const piece = Buffer.allocUnsafe(1024 * 1024);
    for (let at = 0; at < size; ) {
      const { bytesRead } = await base.read(piece, 0, Math.min(piece.length, size - at), at);
      if (bytesRead === 0) break;
      await out.write(piece, 0, bytesRead, at);
      at += bytesRead;
    }
  } finally {
    await base.close();
  }
}

function summary(entry: LogEntry): object {
  const { n, generation, since, pageCount, length, frameCount, mark, acked } = entry;
  return { n, generation, since, pages: pageCount, bytes: length, frames: frameCount, mark, acked };
}

function line(entry: LogEntry): string {
  const { n, generation, since, pageCount, length, frameCount, mark } = entry;
  return `${String(n).padStart(8)} ${String(generation).padStart(4)} ${String(since).padStart(8)} ${String(pageCount).padStart(8)} ${String(length).padStart(12)} ${String(frameCount).padStart(7)} ${String(mark).padStart(8)}`;
}
