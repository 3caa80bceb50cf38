import type { LogFile } from "./files.ts";
import { RecordIntake } from "./intake.ts";
import { FILE_HEADER_BYTES, MARK_BYTES, parseFileHeader, parseMark } from "./log-format.ts";
import { type LogEntry, LogIndex } from "./log-index.ts";
import { RecordError, type RecordViolation } from "./record.ts";
import { type RecordEvent, RecordParser } from "./record-parser.ts";

const READ_BYTES = 2 ** 20;

export interface Scanned {
  /** `null`: the file has no header of its own. */
  readonly lineage: string | null;
  readonly index: LogIndex;
  /** Bytes that are sound, from the start. */
  readonly end: number;
  /**
   * What is wrong behind them, if anything. `unfinished`: the file ends within a record or before its mark, as the log
   * of an agent does while a record is received.
   */
  readonly torn: { readonly offset: number; readonly why: string; readonly unfinished: boolean } | null;
}

export interface ScanOptions {
  /**
   * For every whole record, with the rule that it breaks, if one. Without it a record that breaks a rule ends the scan:
   * it never was committed by this code, and nothing may rest on it.
   */
  readonly onRecord?: (entry: LogEntry, violation: RecordViolation | null) => void;
}

/**
 * One pass over a log file: its committed records in order, up to the first that is not whole, not committed or not to
 * be believed. Every checksum and every digest is computed again. Holds a mebibyte at a time.
 * @throws LogVersionError when the log is of another version.
 */
export async function scan(file: LogFile, { onRecord }: ScanOptions = {}): Promise<Scanned> {
  const size = await file.size();
  const index = new LogIndex();
  let lineage: string | null = null;
  let offset = 0;
  const window = new Window(file);
  try {
    lineage = parseFileHeader(await window.upTo(0, FILE_HEADER_BYTES));
    offset = FILE_HEADER_BYTES;
    while (offset < size) {
      const intake = new RecordIntake(index.pages);
      await readRecord(window, offset, intake);
      const { head, end } = intake.finish();
      const behind = offset + intake.length;
      const mark = await window.upTo(behind, MARK_BYTES);
      if (mark.length < MARK_BYTES) throw new UnfinishedError("it was not committed", intake.length);
      const came = parseMark(mark, head.n, end.crc, intake.length);
      const violation = intake.violation(index.last);
      if (violation !== null && onRecord === undefined) throw violation;
      const entry = await index.apply(intake, offset, came);
      onRecord?.(entry, violation);
      offset = behind + MARK_BYTES;
    }
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    return { lineage, index, end: offset, torn: tornBy(error, offset) };
  }
  return { lineage, index, end: offset, torn: null };
}

/** The file ends too early. */
class UnfinishedError extends RecordError {}

function tornBy(error: RecordError, offset: number): Scanned["torn"] {
  const unfinished = error instanceof UnfinishedError;
  return { offset: offset + error.offset, why: error.message, unfinished };
}

async function readRecord(window: Window, offset: number, intake: RecordIntake): Promise<void> {
  for (let at = offset; intake.end === null; ) {
    const piece = await window.from(at);
    if (piece.length === 0) throw new UnfinishedError("it is cut off", at - offset);
    at += intake.feed(piece).used;
  }
}

/** What was read of the file last: many records fit into one reading. */
class Window {
  readonly #file: LogFile;
  #at = 0;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(file: LogFile) {
    this.#file = file;
  }

  /** Some bytes from there on, none at the end of the file. */
  async from(offset: number): Promise<Buffer> {
    if (offset < this.#at || offset >= this.#at + this.#bytes.length) {
      this.#bytes = await this.#file.read(offset, READ_BYTES);
      this.#at = offset;
    }
    return this.#bytes.subarray(offset - this.#at);
  }

  /** So many bytes from there on, fewer only at the end of the file. */
  async upTo(offset: number, length: number): Promise<Buffer> {
    const some = await this.from(offset);
    return some.length >= length ? some.subarray(0, length) : this.#file.read(offset, length);
  }
}

/** The parts of one record in a log file, as they come. @throws RecordError when it is not sound. */
export async function* eventsOf(file: LogFile, { offset, length }: LogEntry): AsyncGenerator<RecordEvent> {
  const parser = new RecordParser();
  for (let at = 0; at < length; at += READ_BYTES) {
    yield* parser.push(await file.read(offset + at, Math.min(READ_BYTES, length - at)));
  }
  parser.finish();
}
