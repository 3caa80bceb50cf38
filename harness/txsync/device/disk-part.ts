import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { messageOf, UserError } from "../../base/errors.ts";
import type { TransactionNumber } from "../core/index.ts";
import { DaemonClient, type DaemonStatus, daemonIsThere, decodePiece, Segment } from "../disk/index.ts";
import type { PartPiece } from "../log/index.ts";
import type { PieceSource } from "./piece-source.ts";
import type { StatePart } from "./state-part.ts";

/** Put down in one go. */
const TURN_BYTES = 1024 ** 2;
const CONNECT_MS = 1_000;
const AGAIN_MS = 50;
/** For the daemon to start, which has to reach the storage; one that did not ended, and another one is started. */
const START_MS = 30_000;
const START_AGAIN_MS = 2_000;

/** Whose the disks are, as the core has it. */
export type Ownership =
  | { readonly kind: "owned"; readonly generation: number; readonly through: boolean }
  /** There is no VM on this host. */
  | { readonly kind: "nobody" }
  /** A VM is here, or is being made, and it is not known to be anybody's. */
  | { readonly kind: "open" };

export interface DiskPartOptions {
  /** On the host's tmpfs. */
  readonly folder: string;
  readonly disks: readonly string[];
  /** Starts the daemon; one that is there already makes it end at once. */
  readonly start: () => void;
  /** QEMUs with a lower number have nothing to do with the disks any more. */
  readonly lowestQemu: () => number;
  /** QEMUs with a lower number have ended. Default: none of which it is known. */
  readonly dead?: () => number;
  /** Settles when nobody reads the pieces of a record any more, nor will: the VM that it is of is gone. */
  readonly recordDropped?: () => Promise<unknown>;
  readonly say: (line: string) => void;
  /** The storage does not answer any more, or does again: seen with every transaction. */
  readonly onStorage?: (state: "away" | "there") => void;
}

/**
 * The VM's disks: what it wrote to them since a mark is a part of the transaction. Everything but what a record carries is
 * done by a daemon beside QEMU (disk/daemon.ts).
 */
export class DiskPart implements StatePart {
  readonly name = "disk";
  readonly #options: DiskPartOptions;
  #client: Promise<DaemonClient> | undefined;
  #applied = 0;
  #restores = 0;
  #storage: DaemonStatus["storage"] = "there";
  /** That is to own the VM which is made again. */
  #generation = 0;
  #said = "";
  #owning = false;
  #stopping = false;
  #wanted: Ownership = { kind: "open" };
  #has = "";

  constructor(options: DiskPartOptions) {
    this.#options = options;
  }

  /** Settles when the disks are served. @throws Error when they cannot be, in time */
  async ready(): Promise<void> {
    await this.#connected();
  }

  /** A `stop` is about to be asked for, or is over. */
  stopping(on: boolean): void {
    this.#stopping = on;
    void this.#ask({ do: "hurry", on }).catch((error: unknown) => this.#say(error));
  }

  async capture(n: TransactionNumber): Promise<void> {
    await this.#ask({ do: "mark", n });
  }

  /** The floor is said where there is nothing else to say, too: put into the image again a write would undo what came since. */
  pieces(n: TransactionNumber, since: TransactionNumber | "base"): readonly PieceSource[] {
    const { folder, disks } = this.#options;
    const after = since === "base" ? 0 : since;
    return [{ name: this.name, floor: this.#applied, overlay: { folder, disks, after, upto: n } }];
  }

  committed(n: TransactionNumber): void {
    void this.#ask({ do: "commit", n }).catch((error: unknown) => this.#say(error));
  }

  /** A commit that is done already is done once more by nothing. */
  async settled(n: TransactionNumber): Promise<void> {
    await this.#ask({ do: "commit", n });
  }

  async fence(generation: number): Promise<void> {
    this.#generation = generation;
    await this.#ask({ do: "close-out", below: this.#options.lowestQemu() });
  }

  async restore(_n: TransactionNumber, pieces: readonly PartPiece[]): Promise<void> {
    const all = join(this.#options.folder, "redo");
    // Of an earlier life. Of one that was given up the daemon may still read.
    if (this.#restores === 0) rmSync(all, { recursive: true, force: true });
    this.#restores += 1;
    const folder = join(all, String(this.#restores));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    try {
      const paths = await this.#putDown(folder, pieces);
      this.#has = "";
      await this.#ask({ do: "redo", generation: this.#generation, segments: paths });
    } finally {
      // Where it failed it is tried again, with all of it.
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** @returns the segment of each disk that has any */
  async #putDown(folder: string, pieces: readonly PartPiece[]): Promise<Record<string, string>> {
    const segments = new Map<string, Segment>();
    let since_turn_bytes = 0;
    try {
      for (const { bytes } of pieces) {
        since_turn_bytes += bytes.length;
        // It may be all that is kept of all disks, and this thread has leases to look after.
        if (since_turn_bytes > TURN_BYTES) {
          since_turn_bytes = 0;
          await turn();
        }
        const { disk, change } = decodePiece(Buffer.from(bytes));
        if (!this.#options.disks.includes(disk))
          throw new UserError(`the log has writes of a disk ${disk}, which is not here`);
        const segment = segments.get(disk) ?? Segment.create(join(folder, disk));
        segments.set(disk, segment);
        if (change.bytes === undefined) segment.zero(change.offset, change.length);
        else segment.write(change.offset, change.bytes);
      }
    } finally {
      for (const segment of segments.values()) segment.close();
    }
    return Object.fromEntries([...segments.keys()].map((disk) => [disk, join(folder, disk)]));
  }

  /** After every step of the core. */
  follow(ownership: Ownership): void {
    this.#wanted = ownership;
    if (!this.#owning) void this.#settle();
  }

  /** What is wanted last is what comes of it; what fails is tried again for as long as it is wanted. */
  async #settle(): Promise<void> {
    this.#owning = true;
    for (let wanted = this.#wanted; JSON.stringify(wanted) !== this.#has; wanted = this.#wanted) {
      try {
        if (wanted.kind === "owned")
          await this.#ask({ do: "own", generation: wanted.generation, through: wanted.through });
        // One that an earlier life of the agent talked to has the disks all the same; for this alone none is started.
        if (wanted.kind === "nobody" && (this.#client !== undefined || (await daemonIsThere(this.#options.folder)))) {
          // A record that is still sent would lack what is dropped here, and be stored as if nothing had been written.
          await this.#options.recordDropped?.();
          if (this.#wanted.kind !== "nobody") continue;
          // First, and not waited for: what one that died had asked for would find room once the rest is dropped.
          const below = this.#options.dead?.() ?? 0;
          this.#ask({ do: "close-out", below }).catch((error: unknown) => this.#say(error));
          await this.#ask({ do: "disown" });
        }
        this.#has = JSON.stringify(wanted);
      } catch (error) {
        this.#say(error);
        await delay(AGAIN_MS);
      }
    }
    this.#owning = false;
  }

  async #ask(words: Parameters<DaemonClient["ask"]>[0]): Promise<DaemonStatus> {
    const client = await this.#connected();
    const status = await client.ask(words);
    this.#applied = status.applied;
    if (status.storage !== this.#storage) this.#options.onStorage?.(status.storage);
    this.#storage = status.storage;
    return status;
  }

  #connected(): Promise<DaemonClient> {
    this.#client ??= this.#connect().catch((error: unknown) => {
      this.#client = undefined;
      throw error;
    });
    return this.#client;
  }

  async #connect(): Promise<DaemonClient> {
    const { folder, start } = this.#options;
    const began_ms = performance.now();
    for (let started_ms = Number.NEGATIVE_INFINITY; ; ) {
      try {
        const client = await DaemonClient.connect(folder, CONNECT_MS, () => {
          this.#client = undefined;
          this.#has = "";
        });
        // It may have been away, with what a VM had that is here no more, and knows nothing of what was said meanwhile.
        this.#has = "";
        if (this.#stopping) client.ask({ do: "hurry", on: true }).catch(() => undefined);
        this.follow(this.#wanted);
        return client;
      } catch (error) {
        const now_ms = performance.now();
        if (now_ms - started_ms > START_AGAIN_MS) {
          started_ms = now_ms;
          start();
        }
        if (now_ms - began_ms > START_MS)
          throw new Error(`the daemon of the disks does not answer: ${messageOf(error)}`);
        await delay(AGAIN_MS);
      }
    }
  }

  #say(error: unknown): void {
    const why = messageOf(error);
    if (why !== this.#said) this.#options.say(why);
    this.#said = why;
  }
}
