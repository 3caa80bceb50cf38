import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { RecordHeader, Role } from "../core/index.ts";
import type { PageRun } from "../dirty/pages.ts";
import type { TransactionLog } from "../log/index.ts";
import { encodeNote, type Note, parts } from "../pages/notes.ts";
import { decodePages, decodeRequest, encodePages, encodeRequest } from "../pages/page-frames.ts";
import type { BlockSize } from "../pages/page-map.ts";
import { BaseCopy, type BaseCopyOptions } from "./base-copy.ts";
import { forgetBase, loadBase, saveBase } from "./kept-base.ts";
import type { Shell } from "./shell.ts";
import { sendTargetPages } from "./target-pages.ts";

const PEERS: readonly Role[] = ["source", "target"];
const TELL_EVERY_MS = 20;

/** The escrow's part: keeps the log and a copy of the base, answers for both, and passes on for those who are cut off. */
export class EscrowSide {
  readonly #shell: Shell;
  readonly #log: TransactionLog;
  readonly #bodies = new Map<string, Buffer>();
  #base: string | undefined;
  #copy: BaseCopy | undefined;
  #final = false;
  #told_complete = false;
  #told_ms = 0;

  constructor(shell: Shell, log: TransactionLog) {
    this.#shell = shell;
    this.#log = log;
  }

  /** What an earlier life of this agent had copied whole is there still. */
  findAgain(): void {
    const { memory_folder } = this.#shell.config;
    const kept = loadBase(memory_folder);
    if (kept === undefined) return;
    try {
      this.#copy = BaseCopy.reopen(this.#copyOptions(kept.blocks), kept.small);
    } catch (error) {
      this.#shell.emit({ kind: "log", stream: "agent", line: `the copy of the base is gone: ${messageOf(error)}` });
      return;
    }
    this.#base = kept.base;
    this.#final = true;
    this.#completed();
  }

  // ---- the log

  recordCame(header: RecordHeader, body: Buffer): void {
    // At most one is under way: what came before and was not stored is not wanted any more.
    this.#bodies.clear();
    this.#bodies.set(`${header.generation}:${header.n}`, body);
  }

  async store({ generation, n }: RecordHeader): Promise<void> {
    const { dispatch, emit } = this.#shell;
    const body = this.#bodies.get(`${generation}:${n}`);
    this.#bodies.delete(`${generation}:${n}`);
    try {
      if (body === undefined) throw new Error("its body did not come");
      const incoming = this.#log.begin();
      await incoming.push(body);
      await incoming.finish();
      await incoming.commit();
      emit({ kind: "tx.stored", generation, n, bytes: body.length });
      dispatch({ kind: "recordStored", generation, n });
    } catch (error) {
      emit({ kind: "log", stream: "agent", line: `record ${n} was not stored: ${messageOf(error)}` });
      dispatch({ kind: "recordFailed", generation, n });
    }
  }

  async #sendLog(to: Role, question: number, n: number): Promise<void> {
    const { peers } = this.#shell;
    try {
      const last = this.#log.state?.last;
      if (last !== n) throw new Error(`the log's last transaction is ${last ?? "none"}, not ${n}`);
      const record: Uint8Array[] = [];
      for await (const piece of this.#log.read("base")) record.push(piece);
      for (const part of parts(question, Buffer.concat(record))) peers.sendData(to, part);
    } catch (error) {
      peers.sendData(to, encodeNote({ kind: "log-refused", question, why: messageOf(error) }));
    }
  }

  // ---- the base

  note(from: Role, note: Note): void {
    if (note.kind === "log-wanted") void this.#sendLog(from, note.question, note.n);
    if (note.kind !== "base-offered" || from !== "source") return;
    if (this.#base === note.base) {
      this.#tell();
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
    this.#told_complete = false;
    // Only what is offered for good can be complete: what was offered before may have changed since.
    this.#final = note.final;
    this.#progress();
  }

  #copyOptions(blocks: readonly BlockSize[]): BaseCopyOptions {
    return {
      path: join(this.#shell.config.memory_folder, "base-copy"),
      blocks,
      ask: (runs) => this.#ask(runs),
      onProgress: () => this.#progress(),
    };
  }

  #ask(runs: readonly PageRun[]): boolean {
    const base = this.#base;
    if (base === undefined) return false;
    return this.#shell.peers.sendData("source", [encodeRequest({ by: "escrow", of: "source", base, runs })]);
  }

  #progress(): void {
    const copy = this.#copy;
    if (copy === undefined || this.#base === undefined) return;
    if (this.#final && copy.complete && !this.#told_complete) {
      // The peers rely on it from now on, whatever becomes of this agent.
      saveBase(this.#shell.config.memory_folder, { base: this.#base, blocks: copy.blocks, small: copy.small });
      this.#completed();
    } else if (performance.now() - this.#told_ms >= TELL_EVERY_MS) this.#tell();
  }

  #completed(): void {
    this.#told_complete = true;
    this.#shell.emit({ kind: "run.note", text: "the escrow's copy of the base is complete" });
    this.#shell.dispatch({ kind: "baseComplete", complete: true });
    this.#tell();
  }

  #tell(): void {
    const copy = this.#copy;
    if (copy === undefined || this.#base === undefined) return;
    this.#told_ms = performance.now();
    const note = encodeNote({
      kind: "base-held",
      base: this.#base,
      complete: this.#final && copy.complete,
      share: copy.share,
      from: copy.heldFrom(),
    });
    for (const to of PEERS) this.#shell.peers.sendData(to, note);
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

  /** At every heartbeat: what was told may have been lost. */
  beat(): void {
    this.#tell();
  }

  forget(): void {
    forgetBase(this.#shell.config.memory_folder);
    this.#copy?.close();
    this.#copy = undefined;
    this.#base = undefined;
  }
}
