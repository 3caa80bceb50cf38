import { mkdir, open, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { messageOf, UserError } from "../base/errors.ts";
import { PAGE_BYTES } from "../base/page.ts";
import {
  eventsOf,
  type Files,
  fileName,
  folder,
  type LogEntry,
  LogVersionError,
  logNumbers,
  neededParts,
  type PartPiece,
  pagesOf,
  partOf,
  type RecordBlock,
  type RecordViolation,
  type Scanned,
  scan,
} from "../txsync/log/index.ts";

/** Adds `ferryman log list|verify|extract`: look at a transaction log that a run left behind. Nothing is changed. */
export function registerLog(program: Command): void {
  const log = program.command("log").description("look at a transaction log left in a run folder");
  log
    .command("list <folder>")
    .description("the transactions in it, as far as it is sound; exit code 1 where it is not")
    .option("--json", "one JSON object a transaction")
    .action(async (path: string, options: { json?: boolean }) => {
      const found = await read(path);
      const { records } = found;
      if (options.json !== true) console.log(LIST_HEAD);
      for (const { entry } of records)
        console.log(options.json === true ? JSON.stringify(summary(entry)) : listLine(entry));
      const { sound, what } = judged(found);
      if (sound && records.length > 0) return;
      // What stands behind it is in no table.
      process.stderr.write(`${found.name}: ${records.length} whole transactions, ${found.size} bytes${what}\n`);
      if (!sound) process.exitCode = 1;
    });
  log
    .command("verify <folder>")
    .description(
      "check every byte of it, and the digest of all changed pages at every transaction; exit code 1 unless it is sound up to what was not committed",
    )
    .action(async (path: string) => {
      const found = await read(path, (record) => console.log(verifyLine(record)));
      const { sound, what } = judged(found);
      console.log(`${found.name}: ${found.records.length} whole transactions, ${found.size} bytes${what}`);
      if (!sound) process.exitCode = 1;
    });
  log
    .command("extract <folder>")
    .description("write the RAM image of a transaction: the base with all pages changed up to then")
    .requiredOption("--out <file>", "where to write it")
    .option("--transaction <n>", "which one (default: the last)")
    .option("--block <name>", "which RAM block", "ram0")
    .option("--base <file>", "the base; without it unchanged pages are zeros")
    .option("--part <name>", "instead: what it has of this part of the VM's state (`list` names them), piece by piece")
    .action(async (path: string, options: ExtractOptions) => {
      if (options.part !== undefined) {
        const { n, pieces, bytes } = await extractPart(path, options, options.part);
        console.log(`transaction ${n}: ${pieces} pieces of part ${options.part}, ${bytes} bytes in ${options.out}`);
        return;
      }
      const { n, pages, bytes } = await extract(path, options);
      console.log(`transaction ${n}: ${pages} pages changed since the base, ${bytes} bytes in ${options.out}`);
    });
}

function judged({ records, torn, end, size }: Found): { readonly sound: boolean; readonly what: string } {
  const wrong = records.filter(({ violation }) => violation !== null).length;
  if (torn !== null && !torn.unfinished)
    return { sound: false, what: `; from byte ${torn.offset} on it is not sound: ${torn.why}` };
  if (wrong > 0) return { sound: false, what: `; ${wrong} of them must not be believed` };
  const last = records[records.length - 1]?.entry;
  const which = last === undefined ? "" : `, last ${last.n} of generation ${last.generation}`;
  // As the log of an agent looks that stopped while it received something.
  const behind = torn === null ? "" : `; the last ${size - end} bytes are of a record that was not committed`;
  return { sound: true, what: `, sound${which}${behind}` };
}

interface ExtractOptions {
  readonly out: string;
  readonly transaction?: string;
  readonly block: string;
  readonly base?: string;
  readonly part?: string;
}

interface FoundRecord {
  readonly entry: LogEntry;
  readonly violation: RecordViolation | null;
}

interface Found {
  readonly files: Files;
  readonly name: string;
  readonly size: number;
  readonly records: readonly FoundRecord[];
  readonly blocks: readonly RecordBlock[];
  /** Where the last committed transaction ends. */
  readonly end: number;
  readonly torn: Scanned["torn"];
}

/** A run's folder will do: its log lies in it. */
async function logFolderOf(path: string): Promise<string> {
  const inside = join(path, "escrow-log");
  const found = await stat(inside).catch(() => undefined);
  return found?.isDirectory() === true ? inside : path;
}

async function read(given: string, onRecord?: (record: FoundRecord) => void): Promise<Found> {
  const path = await logFolderOf(given);
  const files = folder(path);
  const names = await files.list().catch((error: unknown) => {
    throw new UserError(`no transaction log in ${path}: ${messageOf(error)}`);
  });
  const number = logNumbers(names)[0];
  if (number === undefined) throw new UserError(`no transaction log in ${path}: it holds no file named txlog-NNNNNNNN`);
  const name = fileName(number);
  if ((await stat(join(path, name))).isDirectory())
    throw new UserError(`${join(path, name)} is a directory, where a file ought to be`);
  const file = await files.open(name, "read");
  const records: FoundRecord[] = [];
  try {
    const { torn, end, index } = await scan(file, {
      onRecord: (entry, violation) => {
        records.push({ entry, violation });
        onRecord?.({ entry, violation });
      },
    });
    return { files, name, size: await file.size(), records, blocks: index.pages.blocks, end, torn };
  } catch (error) {
    throw error instanceof LogVersionError ? new UserError(`${path}: ${error.message}`) : error;
  } finally {
    await file.close();
  }
}

/**
 * The image of a block at a transaction: the records up to it over the base, in order, a mebibyte of them at a time.
 * @throws UserError when there is no such transaction or block.
 */
export async function extract(
  path: string,
  options: ExtractOptions,
): Promise<{ n: number; pages: number; bytes: number }> {
  const { files, name, records, blocks } = await read(path);
  const { n, upTo } = transactionIn(path, records, options.transaction);
  const bytes = blocks.find((block) => block.name === options.block)?.bytes;
  if (bytes === undefined) {
    const there = blocks.map((block) => block.name).join(", ");
    throw new UserError(`no RAM block ${options.block} in ${path}: there are ${there}`);
  }
  await mkdir(dirname(options.out), { recursive: true });
  const log = await files.open(name, "read");
  const out = await open(options.out, "w");
  const changed = new Uint8Array(Math.ceil(bytes / PAGE_BYTES));
  const zeros = Buffer.alloc(PAGE_BYTES);
  try {
    await out.truncate(bytes);
    if (options.base !== undefined) await copyInto(options.base, out, bytes);
    for (const { entry } of records.slice(0, upTo + 1)) {
      let wanted = -1;
      for await (const event of eventsOf(log, entry)) {
        if (event.kind === "blocks") wanted = event.blocks.findIndex((block) => block.name === options.block);
        if (event.kind !== "pages") continue;
        for (const { block, page, bytes: content } of pagesOf(event)) {
          if (block !== wanted) continue;
          changed[page] = 1;
          await out.write(content ?? zeros, 0, PAGE_BYTES, page * PAGE_BYTES);
        }
      }
    }
    return { n, pages: changed.reduce((sum, one) => sum + one, 0), bytes };
  } finally {
    await out.close();
    await log.close();
  }
}

/** @throws UserError when there is no such transaction */
function transactionIn(
  path: string,
  records: readonly FoundRecord[],
  wanted: string | undefined,
): { readonly n: number; readonly upTo: number } {
  const last = records[records.length - 1]?.entry.n;
  const n = wanted === undefined ? last : Number(wanted);
  const upTo = records.findIndex(({ entry }) => entry.n === n);
  if (n !== undefined && upTo >= 0) return { n, upTo };
  const there = records.length === 0 ? "none" : `${records[0]?.entry.n} to ${last}`;
  throw new UserError(`no transaction ${wanted ?? "at all"} in ${path}: there are ${there}`);
}

/**
 * What a restore of that transaction would give to a part, the pieces one behind the other.
 * @throws UserError when there is no such transaction, or nothing of the part in it
 */
export async function extractPart(
  path: string,
  options: Pick<ExtractOptions, "out" | "transaction">,
  part: string,
): Promise<{ n: number; pieces: number; bytes: number }> {
  const { files, name, records } = await read(path);
  const { n, upTo } = transactionIn(path, records, options.transaction);
  const log = await files.open(name, "read");
  let pieces: PartPiece[] = [];
  try {
    for (const { entry } of records.slice(0, upTo + 1)) {
      if (entry.since === "base") pieces = [];
      for await (const event of eventsOf(log, entry))
        if (event.kind === "part" && event.name === part) pieces.push(partOf(event));
      pieces = [...neededParts(pieces)];
    }
  } finally {
    await log.close();
  }
  if (pieces.length === 0) {
    const there = [...new Set(records.flatMap(({ entry }) => Object.keys(entry.parts)))].join(", ") || "none";
    throw new UserError(`no part ${part} in transaction ${n} of ${path}: there are ${there}`);
  }
  await mkdir(dirname(options.out), { recursive: true });
  const content = Buffer.concat(pieces.map(({ bytes }) => bytes));
  await writeFile(options.out, content);
  return { n, pieces: pieces.length, bytes: content.length };
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
  const { n, generation, since, pages, modified_pages, digest, length, frames, parts, mark, acked } = entry;
  return { n, generation, since, pages, modified_pages, digest, bytes: length, frames, parts, mark, acked };
}

const LIST_HEAD = columns("n", "gen", "since", "pages", "modified", "bytes", "frames", "mark", "parts");

function listLine({ n, generation, since, pages, modified_pages, length, frames, mark, parts }: LogEntry): string {
  const named = Object.entries(parts).map(([name, bytes]) => `${name}:${bytes}`);
  return columns(n, generation, since, pages, modified_pages, length, frames, mark, named.join(" "));
}

function columns(...cells: (string | number)[]): string {
  const widths = [8, 4, 8, 8, 9, 12, 7, 8, 0];
  return cells.map((cell, i) => String(cell).padStart(widths[i] ?? 8)).join(" ");
}

function verifyLine({ entry, violation }: FoundRecord): string {
  const { n, pages, modified_pages, digest } = entry;
  const what = `transaction ${n}: ${pages} pages, ${modified_pages} modified, digest ${digest}`;
  return violation === null ? `${what} ok` : `${what} NOT TO BE BELIEVED (${violation.rule}): ${violation.message}`;
}
