import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { LogState, Role } from "../core/index.ts";
import type { PageRun } from "../dirty/pages.ts";
import {
  type Files,
  folder,
  type IncomingRecord,
  RecordError,
  type RecordHead,
  RecordParser,
  RecordViolation,
  TransactionLog,
} from "../log/index.ts";
import { RECORD_MOVES_MS } from "../pages/copy-asks.ts";
import { encodeNote, type Note } from "../pages/notes.ts";
import { decodePages, decodeRequest, encodePages, encodeRequest } from "../pages/page-frames.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { encodeRecordPiece, type RecordPiece } from "../pages/record-frames.ts";
import { BaseCopy, type BaseCopyOptions } from "./base-copy.ts";
import { type DataShell, log, sendTargetPages } from "./data-shell.ts";
import { follow } from "./following.ts";
import { forgetBase, loadBase, saveBase } from "./kept-base.ts";
import type { Follows } from "./kept-package.ts";
import type { StoreOutcome } from "./protocol.ts";

const PEERS: readonly Role[] = ["source", "target"];
const TELL_EVERY_MS = 20;
const BACKLOG_BYTES = 1 << 20;

type LogWanted = Extract<Note, { kind: "log-wanted" }>;

/** A record that is coming in, piece by piece, behind the last one in the log's file. */
interface Incoming {
  readonly stream: number;
  readonly from: Role;
  readonly record: IncomingRecord;
  moved_ms: number;
  /** Whole, and waiting for the core's word. */
  header?: { readonly generation: number; readonly n: number };
}

/** The escrow's part: keeps the log and a copy of the base, answers for both, and passes on for those who are cut off. */
export class EscrowStore {
  readonly #shell: DataShell;
  readonly #log: TransactionLog;
  #incoming: Incoming | undefined;
  #queue: Promise<void> = Promise.resolve();
  /** Answers under way, by who asked: a new question ends the one before it. */
  readonly #answering = new Map<Role, number>();
  #base: string | undefined;
  #copy: BaseCopy | undefined;
  /** Who has it; and of a VM that is protected where it runs its machine. */
  #of: Role = "source";
  #machine: string | undefined;
  #offered: { readonly from: Role; readonly note: Extract<Note, { kind: "base-running" }> } | undefined;
  #final = false;
  #following = false;
  #told_complete = false;
  #told_ms = 0;

  private constructor(shell: DataShell, opened: TransactionLog) {
    this.#shell = shell;
    this.#log = opened;
  }

  /** @param filesOf the file system of the log's folder */
  static async open(shell: DataShell, filesOf: (place: string) => Files = folder): Promise<EscrowStore> {
    const { log_sync, state_folder, memory_folder } = shell.config;
    const place = join(log_sync === "disk" ? state_folder : memory_folder, "log");
    mkdirSync(place, { recursive: true });
    let store: EscrowStore | undefined;
    const opened = await TransactionLog.open({
      files: filesOf(place),
      sync: log_sync,
      // The copy of the base grows in the same memory.
      promised_bytes: () => (log_sync === "disk" ? 0 : (store?.missing_bytes ?? 0)),
      onWaiting: () => store?.tellWaiting(),
      onTrouble: (what) => log(shell, what),
    });
    store = new EscrowStore(shell, opened);
    store.#findAgain();
    return store;
  }

  get state(): LogState | null {
    return this.#log.state;
  }

  /** What an earlier life of this agent had copied whole is there still. */
  #findAgain(): void {
    const { memory_folder } = this.#shell.config;
    const kept = loadBase(memory_folder);
    if (kept === undefined) return;
    try {
      this.#copy = BaseCopy.reopen(this.#copyOptions(kept.blocks), kept.small);
    } catch (error) {
      log(this.#shell, `the copy of the base is gone: ${messageOf(error)}`);
      return;
    }
    this.#base = kept.base;
    this.#of = kept.of ?? "source";
    this.#machine = kept.machine;
    this.#final = true;
  }

  /** The control plane listens: it is told what was found, once. */
  begin(): void {
    if (this.#final && this.#copy?.complete === true && !this.#told_complete) this.#completed();
  }

  // ---- the log

  /** @returns settles when the piece is in the log's file, so that no more is read than is written. */
  pieceCame(from: Role, piece: RecordPiece): Promise<void> {
    const taken = this.#queue.then(() => this.#take(from, piece));
    this.#queue = taken;
    return taken;
  }

  async #take(from: Role, piece: RecordPiece): Promise<void> {
    try {
      if (piece.meta !== null) {
        await this.#incoming?.record.discard();
        this.#incoming = undefined;
        // One that waited for the core's word is not here any more.
        this.#came = undefined;
        this.#incoming = { stream: piece.stream, from, record: this.#log.begin(), moved_ms: 0 };
      }
      const incoming = this.#incoming;
      if (incoming === undefined || incoming.stream !== piece.stream || incoming.header !== undefined) return;
      incoming.moved_ms = performance.now();
      await incoming.record.push(piece.bytes);
      if (!piece.last) return;
      const { generation, n, since, mark, acked } = (await incoming.record.finish()).head;
      incoming.header = { generation, n };
      this.#shell.peers.sendData(from, "urgent", encodeNote({ kind: "record-here", generation, n }));
      this.#shell.tell({ kind: "record-came", from, header: { generation, n, since, mark, acked } });
      this.#came = { generation, n, since, mark, acked };
    } catch (error) {
      const head = this.#incoming?.record.head ?? (piece.meta === null ? null : headOf(piece.bytes));
      await this.#spoilt(from, error);
      if (head === null || isItsFault(error)) return;
      const { generation, n } = head;
      this.#shell.tell({ kind: "record-not-received", from, generation, n, why: messageOf(error) });
    }
  }

  /** What the copy of the base may still grow by, at most. */
  get missing_bytes(): number {
    return this.#copy?.missing_bytes ?? 0;
  }

  /** Whoever sends a record need not take us for dead while there is no room for more of it. */
  tellWaiting(): void {
    const from = this.#incoming?.from;
    if (from !== undefined) this.#shell.peers.sendData(from, "urgent", encodeNote({ kind: "record-waits" }));
  }

  #came: Extract<Parameters<DataShell["tell"]>[0], { kind: "record-came" }>["header"] | undefined;

  async #spoilt(to: Role, error: unknown): Promise<void> {
    const why = messageOf(error);
    // A disk that takes nothing is for the core to say, once.
    if (isItsFault(error)) log(this.#shell, `a record of ${to} is of no use: ${why}`);
    const incoming = this.#incoming;
    this.#incoming = undefined;
    this.#came = undefined;
    await incoming?.record.discard().catch(() => undefined);
    this.#shell.peers.sendData(to, "urgent", encodeNote({ kind: "record-spoilt", why: why.slice(0, 1000) }));
  }

  /** Makes the record that is here whole part of the log. */
  store(generation: number, n: number): Promise<StoreOutcome> {
    const { promise, resolve } = Promise.withResolvers<StoreOutcome>();
    this.#queue = this.#queue.then(async () => resolve(await this.#store(generation, n)));
    return promise;
  }

  async #store(generation: number, n: number): Promise<StoreOutcome> {
    const incoming = this.#incoming;
    if (incoming?.header?.generation !== generation || incoming.header.n !== n)
      return { outcome: "missing", why: "its body is not here" };
    try {
      const before = this.#log.bytes;
      await incoming.record.commit();
      this.#incoming = undefined;
      this.#came = undefined;
      for (const to of PEERS) this.#shell.peers.sendData(to, "urgent", encodeNote({ kind: "log-grew", n }));
      return { outcome: "stored", bytes: this.#log.bytes - before };
    } catch (error) {
      await this.#spoilt(incoming.from, error);
      const outcome =
        error instanceof RecordViolation ? "violation" : error instanceof RecordError ? "missing" : "failed";
      return { outcome, why: messageOf(error) };
    }
  }

  async #answer(to: Role, { question, n, since, base }: LogWanted): Promise<void> {
    const { peers } = this.#shell;
    this.#answering.set(to, question);
    const refuse = (why: string): void =>
      void peers.sendData(to, "urgent", encodeNote({ kind: "log-refused", question, why: why.slice(0, 1000) }));
    try {
      if (this.#machine !== undefined && base !== undefined && base !== this.#base) {
        refuse(`the log is of base ${this.#base ?? "none"}, not of ${base}`);
        return;
      }
      const last = this.#log.state?.last;
      if (last === undefined || (n !== null && last !== n)) {
        refuse(`the log's last transaction is ${last ?? "none"}, not ${n ?? "any"}`);
        return;
      }
      const connection = peers.connection(to, "bulk");
      const known = since !== null && since.lineage === this.#log.lineage && since.n <= last;
      let waiting: Uint8Array | undefined;
      let first = true;
      const send = (bytes: Uint8Array, is_last: boolean): boolean => {
        const meta = first ? { lineage: this.#log.lineage } : null;
        first = false;
        const piece = { purpose: "answer", stream: question, meta, last: is_last, bytes: [bytes] } as const;
        return peers.sendData(to, "bulk", encodeRecordPiece(piece));
      };
      for await (const bytes of this.#log.read(known ? (since.n as never) : "base")) {
        if (waiting !== undefined && !send(waiting, false)) return;
        waiting = bytes;
        await peers.drained(to, "bulk", BACKLOG_BYTES);
        if (this.#answering.get(to) !== question || peers.connection(to, "bulk") !== connection) return;
        await turn();
      }
      if (waiting !== undefined) send(waiting, true);
    } catch (error) {
      refuse(messageOf(error));
    }
  }

  // ---- the base

  note(from: Role, note: Note): void {
    if (note.kind === "log-wanted") void this.#answer(from, note);
    if (note.kind === "base-running") this.#baseRuns(from, note);
    if (note.kind === "base-follows") this.#follows(note);
    if (note.kind === "record-again") this.#again(from, note.generation, note.n);
    if (note.kind !== "base-offered" || from !== "source") return;
    if (this.#base === note.base) {
      this.tell();
      return;
    }
    if (note.from !== null && this.#base === note.from && this.#copy !== undefined) {
      const changed = Object.entries(note.changed);
      this.#copy.discard(
        changed.flatMap(([block, runs]) => runs.map(([first, count]) => [block, first, count] as const)),
      );
    } else {
      // Nothing is said of the new base before there is a copy of it.
      this.forget();
      this.#copy = BaseCopy.begin(this.#copyOptions(note.blocks));
    }
    this.#base = note.base;
    this.#of = "source";
    this.#machine = undefined;
    this.#told_complete = false;
    // Only what is offered for good can be complete: what was offered before may have changed since.
    this.#final = note.final;
    this.#progress();
  }

  /** Said again and again until it is heard. What is here is made of nothing else than what is said here to be there. */
  #follows({ base, of }: Extract<Note, { kind: "base-follows" }>): void {
    if (this.#base === base) this.tell();
    if (this.#base !== of.base || this.#following) return;
    this.#following = true;
    // What comes meanwhile waits: it is relative to what this makes.
    this.#queue = this.#queue
      .then(() => this.#follow(base, of))
      .catch((error: unknown) => log(this.#shell, `the base was not made: ${messageOf(error)}`))
      .finally(() => {
        this.#following = false;
      });
  }

  async #follow(base: string, of: Follows): Promise<void> {
    const copy = this.#copy;
    if (copy === undefined || this.#base !== of.base) return;
    const began_ms = performance.now();
    const wanted = (): boolean => this.#copy === copy && this.#base === of.base;
    const pages = await follow(copy, this.#log, of, wanted);
    // Let go of while the log began anew: of what is here no more nobody may be told that it is.
    if (pages === undefined || !wanted()) return;
    this.#base = base;
    this.#keepBase(copy);
    this.#completed();
    const text = `the base of where the VM went is here: ${pages} pages laid over (${Math.round(performance.now() - began_ms)} ms)`;
    this.#shell.emit({ kind: "run.note", text });
  }

  #keepBase({ blocks, small }: BaseCopy): void {
    if (this.#base === undefined) return;
    const layout = this.#machine === undefined ? {} : { machine: this.#machine };
    saveBase(this.#shell.config.memory_folder, { base: this.#base, blocks, small, of: this.#of, ...layout });
  }

  /** The VM's host offers its memory while it runs. That nothing rests on what is here is for the core to say. */
  #baseRuns(from: Role, note: Extract<Note, { kind: "base-running" }>): void {
    if (this.#base === note.base) {
      this.tell();
      return;
    }
    this.#offered = { from, note };
    this.#shell.tell({ kind: "base-offered", from });
  }

  /** What is here is given up for what that host has offered last: the log's records are of another base. */
  adopt(from: Role): Promise<void> {
    const adopted = this.#queue.then(() => this.#adopt(from));
    this.#queue = adopted.catch(() => undefined);
    return adopted;
  }

  async #adopt(from: Role): Promise<void> {
    const offered = this.#offered;
    if (offered?.from !== from || this.#base === offered.note.base) return;
    const { base, machine, blocks } = offered.note;
    await this.#incoming?.record.discard().catch(() => undefined);
    this.#incoming = undefined;
    this.#came = undefined;
    this.forget();
    await this.#log.reset();
    this.#copy = BaseCopy.begin(this.#copyOptions(blocks));
    this.#base = base;
    this.#of = from;
    this.#machine = machine;
    this.#told_complete = false;
    // It has been tracked since before it was offered: what changes is in the records.
    this.#final = true;
    this.#progress();
  }

  /** Asked for once more: the core may not have been ready for it, or its answer was lost. */
  #again(from: Role, generation: number, n: number): void {
    const came = this.#came;
    const stored = this.#log.entries.at(-1);
    if (came?.generation === generation && came.n === n) this.#shell.tell({ kind: "record-came", from, header: came });
    else if (stored?.generation === generation && stored.n === n) {
      const { since, mark, acked } = stored;
      const header = { generation: stored.generation, n: stored.n, since, mark, acked };
      this.#shell.tell({ kind: "record-came", from, header });
    } else
      this.#shell.peers.sendData(
        from,
        "urgent",
        encodeNote({ kind: "record-spoilt", why: `record ${n} is not here any more` }),
      );
  }

  #copyOptions(blocks: readonly BlockSize[]): BaseCopyOptions {
    return {
      path: join(this.#shell.config.memory_folder, "base-copy"),
      blocks,
      ask: (runs) => this.#ask(runs),
      yields: () => this.#recordComes(),
      onProgress: () => this.#progress(),
    };
  }

  /** Protection waits for it; the copy of the base does not stand still for it. */
  #recordComes(): boolean {
    const incoming = this.#incoming;
    if (incoming === undefined || incoming.header !== undefined) return false;
    return performance.now() - incoming.moved_ms < RECORD_MOVES_MS;
  }

  #ask(runs: readonly PageRun[]): boolean {
    const base = this.#base;
    if (base === undefined) return false;
    const of = this.#of;
    return this.#shell.peers.sendData(of, "bulk", [encodeRequest({ by: "escrow", of, base, runs })]);
  }

  #progress(): void {
    const copy = this.#copy;
    if (copy === undefined || this.#base === undefined) return;
    if (this.#final && copy.complete && !this.#told_complete) {
      // The peers rely on it from now on, whatever becomes of this agent.
      this.#keepBase(copy);
      this.#completed();
    } else if (performance.now() - this.#told_ms >= TELL_EVERY_MS) this.tell();
  }

  #completed(): void {
    this.#told_complete = true;
    this.#shell.emit({ kind: "run.note", text: "the escrow's copy of the base is complete" });
    this.#shell.tell({ kind: "base-complete" });
    this.tell();
  }

  /** Says what is held of the base; at every heartbeat too: what was told may have been lost. */
  tell(): void {
    const copy = this.#copy;
    if (copy === undefined || this.#base === undefined) return;
    this.#told_ms = performance.now();
    const blocks = copy.blocks.map(({ name, bytes }) => ({ name, bytes }));
    const layout = this.#machine === undefined ? {} : { layout: { machine: this.#machine, blocks } };
    const note = encodeNote({
      kind: "base-held",
      ...layout,
      base: this.#base,
      complete: this.#final && copy.complete,
      share: copy.share,
      from: copy.heldFrom(),
    });
    for (const to of PEERS) this.#shell.peers.sendData(to, "bulk", note);
  }

  // ---- pages

  /** A request for pages: from our own copy, or passed on to the source for a target that does not reach it. */
  requested(from: Role, payload: Buffer): void {
    const { by, of, base, runs } = decodeRequest(payload);
    const { peers } = this.#shell;
    if (of === "source" && from !== "source") {
      sendTargetPages(peers, "source", [payload]);
      return;
    }
    // What was copied ahead, and may have changed since, is nobody's base yet.
    if (of !== "escrow" || base !== this.#base || !this.#final) return;
    for (const run of runs) {
      const pages = this.#copy?.read(run) ?? [];
      // What is not here splits the answer.
      for (let i = 0; i < pages.length; ) {
        const whole: (Uint8Array | null)[] = [];
        const first = run.first + i;
        for (let page = pages[i]; page !== undefined; page = pages[i]) {
          whole.push(page);
          i += 1;
        }
        if (whole.length > 0)
          sendTargetPages(peers, from, encodePages({ by, base, block: run.block, first, pages: whole }));
        else i += 1;
      }
    }
  }

  pagesCame(payload: Buffer): void {
    const answer = decodePages(payload);
    // Answered before some of it was discarded, perhaps.
    if (answer.base === this.#base) this.#copy?.answered(answer);
  }

  /** Lets go of its files; what is in them stays. */
  async close(): Promise<void> {
    await this.#queue;
    await this.#incoming?.record.discard().catch(() => undefined);
    await this.#log.close();
  }

  forget(): void {
    forgetBase(this.#shell.config.memory_folder);
    this.#copy?.close();
    this.#copy = undefined;
    this.#base = undefined;
  }
}

/** The record itself is at fault, and not the disk. */
function isItsFault(error: unknown): boolean {
  return error instanceof RecordError;
}

/** Of a record whose first piece this is; `null` where it is none. */
function headOf(first: Uint8Array): RecordHead | null {
  try {
    for (const event of new RecordParser().push(first)) if (event.kind === "header") return event.head;
  } catch {
    // Then nobody asks for it again by a name.
  }
  return null;
}
