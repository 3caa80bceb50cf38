import { messageOf } from "../../base/errors.ts";
import type { LogState, TransactionNumber } from "../core/index.ts";
import { type CompactedFile, copyBytes, writeCompacted } from "./compaction.ts";
import { type Files, type LogFile, writeAll } from "./files.ts";
import { IncomingRecord, type IncomingWhole, type Receiver } from "./incoming.ts";
import { RecordIntake } from "./intake.ts";
import {
  encodeFileHeader,
  encodeMark,
  FILE_HEADER_BYTES,
  fileName,
  logNumbers,
  MARK_BYTES,
  newLineage,
} from "./log-format.ts";
import type { LogEntry, LogIndex } from "./log-index.ts";
import { PageIndex } from "./page-index.ts";
import { RecordError } from "./record.ts";
import { canCompact, gainsRoom, leavesNoRoom, type Measures } from "./room.ts";
import { type Scanned, scan } from "./scan.ts";
import { SharedFile } from "./shared-file.ts";
import { type Snapshot, streamOf, takeSnapshot } from "./transaction-stream.ts";

const GROWTH = 2;
const SLACK_BYTES = 16 * 2 ** 20;
/** What compaction leaves to be copied while nothing else may be written. */
const LAST_COPY_BYTES = 2 ** 20;
const COPY_ROUNDS = 4;
/** A record that waits for room says so as often. */
const WAITING_EVERY_MS = 100;
/** After a compaction that failed so many commits pass before the next one, twice as many each time. */
const WAIT_COMMITS = 8;
const WAIT_COMMITS_MAX = 1024;

export interface LogOptions {
  readonly files: Files;
  /** `disk`: a committed record has reached the disk before `commit` returns. */
  readonly sync: "memory" | "disk";
  /** Compact when the log is longer than so many times what it holds, plus `slack_bytes`. */
  readonly growth?: number;
  readonly slack_bytes?: number;
  /** Bytes that others are yet to write beside the log, where it is. */
  readonly promised_bytes?: () => number;
  /** Called now and then while a record waits for a compaction, without which there would soon be no room. */
  readonly onWaiting?: () => void;
  /** Something went wrong that no caller waits for: a compaction that failed, a file that was left over. */
  readonly onTrouble?: (why: string) => void;
}

/**
 * What is in the page cache is not known to be what is on the disk any more, or what is in the file not what is in the
 * log. It takes no record until all that was committed has been written once more, into a fresh file (`mend`), or an agent
 * that starts again has opened it anew.
 */
export class LogBrokenError extends Error {
  override readonly name = "LogBrokenError";
}

/** Asked for a transaction that the log does not have. */
export class NotInLogError extends Error {
  override readonly name = "NotInLogError";
}

/** A compaction that was given up, because the log began anew or is closed. */
class GivenUpError extends Error {}

/**
 * The transaction log of the escrow: one file of records with their commit marks (`log-format.ts`), of which the last
 * transaction can be read. A record is received behind the last committed one, piece by piece, and is part of the log
 * from its mark on; whatever follows the last mark is cut off when the log is opened. All that changes the file happens
 * in turn; compaction and readers work beside it on what was committed when they began.
 */
export class TransactionLog {
  readonly #options: LogOptions;
  #shared: SharedFile;
  #number: number;
  #lineage: string;
  readonly #index: LogIndex;
  /** Bytes that are committed, and what was written behind them. */
  #size: number;
  #tail = 0;
  #incoming: IncomingRecord | null = null;
  #broken: string | null = null;
  #queue: Promise<unknown> = Promise.resolve();
  #compacting: Promise<void> | null = null;
  /** The compaction that is under way: what was committed when it began, and what it has written. */
  #compaction = { from_bytes: 0, written_bytes: 0 };
  #beside: Promise<void> | null = null;
  #mending: Promise<void> | null = null;
  /** Counts how often the log began anew. */
  #life = 0;
  #closed = false;
  #wait_commits = 0;
  #failures = 0;
  #said_no_room = false;
  /** What was cut off when the log was opened, if anything. */
  readonly torn: Scanned["torn"];
  readonly #receiver: Receiver = {
    push: (record, piece) => this.#telling(() => this.#push(record, piece)),
    finish: (record) => this.#telling(() => this.#finish(record)),
    commit: (record) => this.#telling(() => this.#commit(record)),
    discard: (record) => this.#discard(record),
  };

  private constructor(options: LogOptions, file: LogFile, number: number, lineage: string, scanned: Scanned) {
    this.#options = options;
    this.#shared = new SharedFile(file);
    this.#number = number;
    this.#lineage = lineage;
    this.#index = scanned.index;
    this.#size = Math.max(scanned.end, FILE_HEADER_BYTES);
    this.torn = scanned.torn;
  }

  /**
   * Opens the log of a folder, or begins one; removes what a crash left over. Reads all of it once.
   * @throws LogVersionError when it was written by another Ferryman.
   */
  static async open(options: LogOptions): Promise<TransactionLog> {
    const { files } = options;
    const names = await files.list();
    const found = logNumbers(names)[0];
    const number = found ?? 0;
    const file = await files.open(fileName(number), found === undefined ? "create" : "append");
    try {
      const whole = await scan(file);
      const scanned = found === undefined ? { ...whole, torn: null } : whole;
      const lineage = scanned.lineage ?? newLineage();
      if (scanned.torn !== null) await file.truncate(scanned.end);
      if (scanned.lineage === null) await writeAll(file, 0, encodeFileHeader(lineage));
      await file.sync();
      for (const name of names) {
        if (name !== fileName(number) && (logNumbers([name]).length > 0 || /^txlog-\d{8}\./.test(name)))
          await files.remove(name);
      }
      await files.syncFolder();
      return new TransactionLog(options, file, number, lineage, scanned);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** For the core: the last committed record, or `null`. */
  get state(): LogState | null {
    return this.#index.state;
  }

  get entries(): readonly LogEntry[] {
    return this.#index.entries;
  }

  /** Bytes of the file that are committed. */
  get bytes(): number {
    return this.#size;
  }

  /** Names this log, compacted or not; another one where it began anew: 32 hexadecimal digits. */
  get lineage(): string {
    return this.#lineage;
  }

  /** Why it takes no record any more, or `null`. */
  get broken(): string | null {
    return this.#broken;
  }

  /**
   * A record is about to come; one that was under way is not wanted any more. Where the log is broken it is tried to mend
   * it, for the next time: this one is not taken yet.
   */
  begin(): IncomingRecord {
    if (this.#broken !== null) void this.#tryToMend();
    const record = new IncomingRecord(this.#receiver, new RecordIntake(this.#index.pages));
    this.#incoming = record;
    // Where it cannot be cut off the log is broken, which the first piece hears.
    void this.#inTurn(() => this.#cut()).catch(() => undefined);
    return record;
  }

  /**
   * The last transaction as one record, in pieces of at most 256 KiB and their heads: what a restore needs ("base"), or
   * whoever has applied up to `since` already. It is what was committed at the first piece, whatever is committed or
   * compacted meanwhile. @throws NotInLogError when the log is empty or ends before `since`.
   */
  async *read(since: TransactionNumber | "base"): AsyncGenerator<Uint8Array, void> {
    const snapshot = await this.#inTurn(() => this.#snapshot(since));
    try {
      yield* streamOf(snapshot);
    } finally {
      await snapshot.file.release();
    }
  }

  /** One record for all, since the base, under the number of the last. @throws Error when it does not succeed. */
  compact(): Promise<void> {
    if (this.#compacting === null) this.#compaction = { from_bytes: this.#size, written_bytes: 0 };
    this.#compacting ??= this.#compact(this.#life).finally(() => {
      this.#compacting = null;
    });
    return this.#compacting;
  }

  /**
   * What was committed is written once more, into a fresh file that reaches the disk as a whole; the one that broke is
   * closed out. Nothing of it is believed that is not proved: the pages are read back and have to give the digest, and
   * each record had reached the disk before it was committed, by a sync of its own, before that of another one failed.
   * What was not committed stays behind: whoever sent it sends it again. Returns at once where the log is sound.
   * @throws RecordViolation, GivenUpError, or whatever the file says: then it is as broken as before
   */
  mend(): Promise<void> {
    this.#mending ??= this.#mend(this.#life).finally(() => {
      this.#mending = null;
    });
    return this.#mending;
  }

  /** Begins anew, empty and under another lineage: what it held is void. */
  reset(): Promise<void> {
    return this.#beginAnew(null);
  }

  /**
   * The same, with a record since the base in place of all that it held: what that was is in another base now.
   * @throws RecordError or RecordViolation when it is none; the log is as it was then
   */
  beginWith(record: Iterable<Uint8Array>): Promise<void> {
    return this.#beginAnew(record);
  }

  async #beginAnew(record: Iterable<Uint8Array> | null): Promise<void> {
    this.#life += 1;
    this.#incoming = null;
    // No record comes before this is done that would have it mended.
    if (this.#broken !== null) await this.#tryToMend();
    await this.#inTurn(async () => {
      this.#mustBeSound();
      const { files } = this.#options;
      const lineage = newLineage();
      const name = fileName(this.#number + 1);
      const file = await files.open(`${name}.begun`, "create");
      let first: { readonly intake: RecordIntake; readonly crc: number; readonly end: number } | null = null;
      try {
        await writeAll(file, 0, encodeFileHeader(lineage));
        if (record !== null) first = await writeFirst(file, record);
        await file.sync();
        await files.rename(`${name}.begun`, name);
      } catch (error) {
        await file.close();
        throw error;
      }
      this.#lineage = lineage;
      this.#index.clear();
      if (first !== null) await this.#index.apply(first.intake, FILE_HEADER_BYTES, first.crc);
      await this.#goOnWith(file, first?.end ?? FILE_HEADER_BYTES, 0);
    });
  }

  /** When nothing works beside what is received any more: no compaction, no mending. */
  async settled(): Promise<void> {
    await this.#compacting?.catch(() => undefined);
    await this.#mending?.catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.settled();
    await this.#inTurn(() => this.#shared.release());
  }

  // ---- receiving

  /** What waits for a compaction is no standstill: that is told. */
  async #telling<T>(work: () => Promise<T>): Promise<T> {
    const telling = setInterval(() => {
      if (this.#compacting !== null) this.#options.onWaiting?.();
    }, WAITING_EVERY_MS);
    try {
      return await work();
    } finally {
      clearInterval(telling);
    }
  }

  async #push(record: IncomingRecord, piece: Uint8Array): Promise<void> {
    await this.#roomFor(record, piece.length);
    await this.#inTurn(async () => {
      this.#mustBeWanted(record);
      const writing = writeAll(this.#shared.file, this.#size + this.#tail, piece);
      // However far it gets, this is what has to be cut off.
      this.#tail += piece.length;
      try {
        // Looked at while it is written.
        try {
          record.intake.push(piece);
        } finally {
          await writing;
        }
      } catch (error) {
        await this.#drop(record, error);
        throw error;
      }
    });
  }

  #finish(record: IncomingRecord): Promise<IncomingWhole> {
    return this.#inTurn(async () => {
      this.#mustBeWanted(record);
      try {
        return { ...record.intake.finish(), bytes: record.intake.length };
      } catch (error) {
        await this.#drop(record, error);
        throw error;
      }
    });
  }

  #commit(record: IncomingRecord): Promise<LogState> {
    const wanted = this.#incoming === record;
    // Whatever begins from now on comes after it.
    if (wanted) this.#incoming = null;
    return this.#inTurn(async () => {
      if (!wanted) this.#mustBeWanted(record);
      try {
        this.#mustBeSound();
        const state = await this.#commitTail(record.intake);
        record.failed ??= new Error("it is committed");
        this.#compactSoon(record.bytes);
        return state;
      } catch (error) {
        record.failed ??= error;
        throw error;
      } finally {
        await this.#cut();
      }
    });
  }

  /** The record of the tail becomes part of the log, or does not. */
  async #commitTail(intake: RecordIntake): Promise<LogState> {
    const { head, end } = intake.finish();
    const { last } = this.#index;
    const repeated = last !== null && last.n === head.n && last.generation === head.generation && last.crc === end.crc;
    if (!repeated) {
      const violation = intake.violation(last);
      if (violation !== null) throw violation;
      await this.#writeMark(encodeMark(head.n, end.crc, end.crc));
      await this.#index.apply(intake, this.#size, end.crc);
      this.#size += intake.length + MARK_BYTES;
      this.#tail = 0;
    }
    return this.state as LogState;
  }

  async #writeMark(mark: Buffer): Promise<void> {
    const { file } = this.#shared;
    const at = this.#size + this.#tail;
    this.#tail += mark.length;
    await writeAll(file, at, mark);
    if (this.#options.sync !== "disk") return;
    await file.sync().catch((error: unknown) => {
      // What the kernel could not write it may have dropped and call clean: nothing that is read back proves anything
      // (PostgreSQL's "fsyncgate", 2018).
      this.#broken = `the disk did not take what was written to it (${messageOf(error)})`;
      throw new LogBrokenError(`the log is broken: ${this.#broken}`);
    });
  }

  #discard(record: IncomingRecord): Promise<void> {
    return this.#inTurn(() => this.#drop(record, new Error("it was discarded")));
  }

  async #drop(record: IncomingRecord, why: unknown): Promise<void> {
    record.failed ??= why;
    if (this.#incoming !== record) return;
    this.#incoming = null;
    await this.#cut();
  }

  /** Whatever lies behind the last committed record goes. */
  async #cut(): Promise<void> {
    if (this.#tail === 0 || this.#broken !== null) return;
    try {
      await this.#shared.file.truncate(this.#size);
      this.#tail = 0;
    } catch (error) {
      this.#broken = `what was not committed cannot be cut off (${messageOf(error)})`;
      this.#trouble(`the log is broken: ${this.#broken}`);
    }
  }

  #mustBeSound(): void {
    if (this.#broken !== null) throw new LogBrokenError(`the log is broken: ${this.#broken}`);
  }

  #mustBeWanted(record: IncomingRecord): void {
    this.#mustBeSound();
    if (record.failed !== undefined) throw record.failed;
    if (this.#incoming !== record) throw new RecordError("another one has come instead", record.bytes);
  }

  // ---- compaction

  get #measures(): Measures {
    const { slack_bytes = SLACK_BYTES } = this.#options;
    const { from_bytes, written_bytes } = this.#compaction;
    return {
      live_bytes: this.#index.live_bytes,
      size_bytes: this.#size,
      tail_bytes: this.#tail,
      ...(this.#compacting === null
        ? { behind_bytes: 0, written_bytes: 0 }
        : { behind_bytes: Math.max(0, this.#size - from_bytes), written_bytes }),
      slack_bytes,
    };
  }

  get #free_bytes(): number {
    return this.#options.files.free() - (this.#options.promised_bytes?.() ?? 0);
  }

  /**
   * Before so much is written: behind it there has to be room for a compaction. Where there is not the log is compacted
   * first, once for each record. One that fails, or for which it is too late, is no reason not to try.
   */
  async #roomFor(record: IncomingRecord, bytes: number): Promise<void> {
    while (this.#broken === null && leavesNoRoom(this.#measures, bytes, this.#free_bytes)) {
      if (this.#compacting === null && this.#beside === null) {
        if (record.had_room_made || this.entries.length < 2) return;
        if (!gainsRoom(this.#measures, "now") || !this.#mayCompact()) return;
        record.had_room_made = true;
      }
      this.#options.onWaiting?.();
      await this.#compactBeside();
    }
  }

  /** @param last_bytes of the record that was just committed: the next one may be as long */
  #compactSoon(last_bytes: number): void {
    const { growth = GROWTH } = this.#options;
    const waits = this.#wait_commits > 0;
    if (waits) this.#wait_commits -= 1;
    if (this.#closed || this.#compacting !== null || this.entries.length < 2) return;
    const log = this.#measures;
    const is_long = log.size_bytes > growth * log.live_bytes + log.slack_bytes && !waits;
    const is_short = gainsRoom(log, "soon") && !waits && leavesNoRoom(log, last_bytes, this.#free_bytes);
    if ((is_long || is_short) && this.#mayCompact()) void this.#compactBeside();
  }

  /** Begun without the room that it takes it would only take what there is from others. */
  #mayCompact(): boolean {
    const free_bytes = this.#options.files.free();
    const can = canCompact(this.#measures, free_bytes);
    if (!can && !this.#said_no_room) this.#trouble(`there is no room to compact the log: ${free_bytes} bytes are free`);
    this.#said_no_room = !can;
    return can;
  }

  /** Whoever waits for it goes on, whatever comes of it. */
  #compactBeside(): Promise<void> {
    this.#beside ??= this.#compactOnce().finally(() => {
      this.#beside = null;
    });
    return this.#beside;
  }

  async #compactOnce(): Promise<void> {
    try {
      await this.compact();
      this.#failures = 0;
      this.#wait_commits = 0;
    } catch (error) {
      if (error instanceof GivenUpError) return;
      this.#wait_commits = Math.min(WAIT_COMMITS * 2 ** this.#failures, WAIT_COMMITS_MAX);
      this.#failures += 1;
      this.#trouble(`the log was not compacted, again after ${this.#wait_commits} records: ${messageOf(error)}`);
    }
  }

  async #compact(life: number): Promise<void> {
    const { files } = this.#options;
    const goOn = (): void => {
      if (this.#life !== life || this.#closed) throw new GivenUpError("the log began anew, or was closed");
    };
    const written = (written_bytes: number): void => {
      goOn();
      this.#compaction.written_bytes = written_bytes;
    };
    const snapshot = await this.#inTurn(async () => {
      goOn();
      this.#mustBeSound();
      this.#compaction.from_bytes = this.#size;
      return this.entries.length < 2 ? null : this.#snapshot("base");
    });
    if (snapshot === null) return;
    const name = fileName(this.#number + 1);
    const made: { file?: LogFile; switched: boolean } = { switched: false };
    try {
      const compacted = await writeCompacted(files, `${name}.new`, this.#lineage, snapshot, written);
      made.file = compacted.file;
      const from = snapshot.last.offset + snapshot.last.length + MARK_BYTES;
      const { file: old } = snapshot.file;
      let copied = from;
      const copy = async (upTo: number): Promise<void> => {
        const to = { file: compacted.file, offset: compacted.end + copied - from };
        await copyBytes({ file: old, offset: copied }, to, upTo - copied);
        this.#compaction.written_bytes += upTo - copied;
        copied = upTo;
      };
      // What was committed meanwhile: as long as it is much, while more comes.
      for (let round = 0; round < COPY_ROUNDS && this.#size - copied > LAST_COPY_BYTES; round += 1) {
        goOn();
        await copy(this.#size);
      }
      await compacted.file.sync();
      await this.#inTurn(async () => {
        goOn();
        this.#mustBeSound();
        await copy(this.#size + this.#tail);
        if (this.#options.sync === "disk") await compacted.file.sync();
        await files.rename(`${name}.new`, name);
        made.switched = true;
        await this.#switch(compacted, snapshot, from);
      });
    } catch (error) {
      if (!made.switched) {
        await made.file?.close().catch(() => undefined);
        await this.#remove(`${name}.new`);
      }
      throw error;
    } finally {
      await snapshot.file.release();
    }
  }

  /** Whoever goes on finds the log broken, or not. */
  async #tryToMend(): Promise<void> {
    try {
      await this.mend();
    } catch (error) {
      if (!(error instanceof GivenUpError)) this.#trouble(`the log was not mended: ${messageOf(error)}`);
    }
  }

  async #mend(life: number): Promise<void> {
    await this.#compacting?.catch(() => undefined);
    const { files } = this.#options;
    const goOn = (): void => {
      if (this.#life !== life || this.#closed) throw new GivenUpError("the log began anew, or was closed");
    };
    if (this.#broken === null) return;
    goOn();
    // While it is broken nothing is committed: what is read now is all there is.
    const snapshot = await this.#inTurn(async () => (this.#index.last === null ? null : this.#snapshot("base")));
    const name = fileName(this.#number + 1);
    const made: { file?: LogFile; switched: boolean } = { switched: false };
    try {
      const written =
        snapshot === null
          ? await this.#beginFile(`${name}.mended`)
          : await writeCompacted(files, `${name}.mended`, this.#lineage, snapshot, goOn);
      made.file = written.file;
      await written.file.sync();
      await this.#inTurn(async () => {
        goOn();
        await files.rename(`${name}.mended`, name);
        if (this.#incoming !== null) this.#incoming.failed ??= new LogBrokenError("the log was broken when it began");
        this.#incoming = null;
        if (snapshot !== null && written.intake !== undefined)
          await this.#index.relocate(snapshot.last, written.intake, FILE_HEADER_BYTES, this.#size, written.end);
        // Until all places are those in the new file it takes nothing.
        made.switched = true;
        this.#broken = null;
        await this.#goOnWith(written.file, written.end, 0);
      });
      this.#trouble("the log was broken and is whole again: it goes on in a fresh file");
    } catch (error) {
      if (!made.switched) {
        await made.file?.close().catch(() => undefined);
        await this.#remove(`${name}.mended`);
      }
      throw error;
    } finally {
      await snapshot?.file.release();
    }
  }

  /** A file with nothing but its header. */
  async #beginFile(
    name: string,
  ): Promise<{ readonly file: LogFile; readonly end: number; readonly intake?: undefined }> {
    const file = await this.#options.files.open(name, "create");
    try {
      await writeAll(file, 0, encodeFileHeader(this.#lineage));
      return { file, end: FILE_HEADER_BYTES };
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
  }

  /** From here on the new file is the log. */
  async #switch({ file, intake, end }: CompactedFile, { last }: Snapshot, from: number): Promise<void> {
    await this.#index.relocate(last, intake, FILE_HEADER_BYTES, from, end);
    await this.#goOnWith(file, this.#size + end - from, this.#tail);
  }

  async #goOnWith(file: LogFile, size: number, tail: number): Promise<void> {
    const { files, sync } = this.#options;
    const old = this.#shared;
    const old_name = fileName(this.#number);
    this.#shared = new SharedFile(file);
    this.#number += 1;
    this.#size = size;
    this.#tail = tail;
    await old.release().catch((error: unknown) => this.#trouble(`the old log was not closed: ${messageOf(error)}`));
    try {
      await files.syncFolder();
    } catch (error) {
      // After a loss of power the folder may have the old one only, without what is committed from now on.
      if (sync === "disk") this.#broken = `the new file's name may not be on the disk (${messageOf(error)})`;
      this.#trouble(`the log's folder was not synced: ${messageOf(error)}`);
      return;
    }
    await this.#remove(old_name);
  }

  async #remove(name: string): Promise<void> {
    try {
      if ((await this.#options.files.list()).includes(name)) await this.#options.files.remove(name);
    } catch (error) {
      this.#trouble(`${name} is left over: ${messageOf(error)}`);
    }
  }

  // ----

  async #snapshot(since: TransactionNumber | "base"): Promise<Snapshot> {
    const { last } = this.#index;
    if (last === null) throw new NotInLogError("the transaction log is empty");
    if (since !== "base" && since > last.n)
      throw new NotInLogError(`the log's last transaction is ${last.n}: nothing is since ${since}`);
    return takeSnapshot(this.#index, last, since, this.#shared);
  }

  #trouble(why: string): void {
    this.#options.onTrouble?.(why);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

/** The record with which a log begins, and its mark. */
async function writeFirst(
  file: LogFile,
  record: Iterable<Uint8Array>,
): Promise<{ readonly intake: RecordIntake; readonly crc: number; readonly end: number }> {
  const intake = new RecordIntake(new PageIndex());
  let at = FILE_HEADER_BYTES;
  for (const piece of record) {
    intake.push(piece);
    await writeAll(file, at, piece);
    at += piece.length;
  }
  const { head, end } = intake.finish();
  const violation = intake.violation(null);
  if (violation !== null) throw violation;
  await writeAll(file, at, encodeMark(head.n, end.crc, end.crc));
  return { intake, crc: end.crc, end: at + MARK_BYTES };
}
