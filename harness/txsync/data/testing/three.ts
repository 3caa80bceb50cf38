import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { waitFor } from "../../../base/wait.ts";
import type { Role, TransactionNumber } from "../../core/index.ts";
import { type Files, folder } from "../../log/index.ts";
import { decodeNote, FRAME_NOTE } from "../../pages/notes.ts";
import { decodeRecordPiece, FRAME_RECORD } from "../../pages/record-frames.ts";
import { EscrowStore } from "../escrow-store.ts";
import type { StoreOutcome, TakenRecord } from "../protocol.ts";
import { RecordSender } from "../record-sender.ts";
import { basePath, SourceStore } from "../source-store.ts";
import { FakeNet, FakeShell } from "./fake-net.ts";
import { BLOCKS, ModelGuest, type Moment, numbered } from "./model-guest.ts";

export const BASE = "0123456789abcdef";

let rounds = 0;

/** Target, escrow and source of one VM, each with the part of its data plane that has to do with records. */
export class Three {
  readonly net = new FakeNet();
  readonly guest: ModelGuest;
  readonly target: FakeShell;
  readonly sender: RecordSender;
  readonly folder: string;
  escrow_shell: FakeShell;
  escrow: EscrowStore | undefined;
  /** What the escrow's log gets to see of its folder, from its next start on. */
  escrowFiles: (files: Files) => Files = (files) => files;
  source_shell: FakeShell;
  source!: SourceStore;
  /** Memory as it was when this transaction was taken, by number. */
  readonly moments = new Map<number, Moment>();
  /** The last one that the log has. */
  last = 0;
  next = 1;
  #round = 0;

  private constructor(folder: string, seed: number) {
    this.#round = ++rounds;
    this.folder = join(folder, String(this.#round));
    for (const role of ["target", "escrow", "source"]) mkdirSync(join(this.folder, role), { recursive: true });
    this.guest = new ModelGuest(join(this.folder, "target"), seed);
    this.target = new FakeShell("target", this.net, join(this.folder, "target"));
    this.sender = new RecordSender(this.target);
    this.escrow_shell = this.#shell("escrow");
    this.source_shell = this.#shell("source");
    this.net.attach("target", (_, payload) => {
      if (payload[0] !== FRAME_NOTE) return undefined;
      const note = decodeNote(payload);
      if (note.kind === "record-here") this.sender.here(note.generation, note.n);
      if (note.kind === "record-spoilt") this.sender.spoilt();
      return undefined;
    });
  }

  static async make(folder: string, seed: number): Promise<Three> {
    const three = new Three(folder, seed);
    writeFileSync(basePath(join(three.folder, "source")), three.guest.base[0] as Buffer);
    await three.startEscrow();
    three.startSource();
    return three;
  }

  #shell(role: Role): FakeShell {
    return new FakeShell(role, this.net, join(this.folder, role));
  }

  async startEscrow(): Promise<void> {
    this.net.breakBetween("target", "escrow");
    this.net.breakBetween("source", "escrow");
    await this.escrow?.close();
    this.escrow_shell = this.#shell("escrow");
    const escrow = await EscrowStore.open(this.escrow_shell, (place) => this.escrowFiles(folder(place)));
    this.escrow = escrow;
    this.net.attach("escrow", (from, payload) => {
      if (payload[0] === FRAME_RECORD) return escrow.pieceCame(from, decodeRecordPiece(payload));
      if (payload[0] === FRAME_NOTE) escrow.note(from, decodeNote(payload));
      return undefined;
    });
    this.last = escrow.state?.last ?? 0;
  }

  startSource(): void {
    this.net.breakBetween("source", "escrow");
    this.source_shell = this.#shell("source");
    this.source = new SourceStore(this.source_shell);
    const small = [{ name: BLOCKS[1].name, content: Buffer.from(this.guest.base[1] as Buffer) }];
    this.source.haveBase({ base: BASE, blocks: BLOCKS, small, compare: false });
    const source = this.source;
    this.net.attach("source", (_, payload) => {
      if (payload[0] === FRAME_RECORD) source.pieceCame(decodeRecordPiece(payload));
      if (payload[0] !== FRAME_NOTE) return undefined;
      const note = decodeNote(payload);
      if (note.kind === "log-grew") source.logGrew();
      if (note.kind === "log-refused") source.refused(note.question, note.why);
      return undefined;
    });
    source.mayLayOver();
  }

  /** Sends a record until it is whole at the escrow, and has it stored there. */
  async offer(record: TakenRecord): Promise<StoreOutcome | undefined> {
    const { generation, n } = record.header;
    await this.sender.drop();
    const came = this.escrow_shell.told.length;
    await waitFor({ what: `record ${n} at the escrow`, timeout_ms: 5_000, interval_ms: 1 }, () => {
      this.sender.send(record);
      const told = this.escrow_shell.told.slice(came);
      return told.some((one) => one.kind === "record-came" && one.header.n === n) || undefined;
    });
    return await this.escrow?.store(generation, n);
  }

  /** The next record as the guest has it; the number is used up. */
  record(since: "last" | "base"): TakenRecord {
    const n = this.next;
    this.next += 1;
    const from = since === "base" || this.last === 0 ? ("base" as const) : (this.last as TransactionNumber);
    const record = this.guest.take({ ...numbered(1, n), since: from });
    this.moments.set(n, this.guest.moment());
    return record;
  }

  get violations(): string[] {
    return [this.escrow_shell, this.source_shell]
      .flatMap(({ events }) => events)
      .flatMap((event) => (event.kind === "violation" ? [event.why] : []));
  }

  async close(): Promise<void> {
    await this.sender.drop();
    await this.escrow?.close();
    this.source.forget();
  }

  /** Takes a transaction; it is whole at the escrow when this returns, unless something is in the way. */
  async take(since: "last" | "base", commit: boolean): Promise<void> {
    const n = this.next;
    this.next += 1;
    const from = since === "base" || this.last === 0 ? ("base" as const) : (this.last as TransactionNumber);
    await this.sender.drop();
    const record = this.guest.take({ ...numbered(1, n), since: from });
    this.moments.set(n, this.guest.moment());
    this.sender.send(record);
    if (!commit) return;
    await waitFor({ what: "the record", timeout_ms: 5_000, interval_ms: 1 }, () => {
      this.sender.send(record);
      return this.escrow_shell.told.some((told) => told.kind === "record-came" && told.header.n === n) || undefined;
    });
    const outcome = await this.escrow?.store(1, n);
    expect(outcome).toMatchObject({ outcome: "stored" });
    this.last = n;
  }

  /** Restores at the source what the log's last transaction is, and compares every byte. */
  async restored(): Promise<void> {
    const moment = this.moments.get(this.last) as Moment;
    const got = await this.source.restore(this.last);
    expect(readFileSync(basePath(join(this.folder, "source"))).equals(moment[0] as Buffer)).toBe(true);
    expect(Buffer.from(got.small[0]?.content ?? []).equals(moment[1] as Buffer)).toBe(true);
    expect(Buffer.from(got.device_state).toString()).toBe(`device state 1:${this.last}`);
  }
}
