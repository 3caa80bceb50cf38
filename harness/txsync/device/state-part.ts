import type { TransactionNumber } from "../core/index.ts";
import type { PartPiece } from "../log/index.ts";
import type { PieceSource } from "./piece-source.ts";

/**
 * A part of the VM's state beside RAM and device state, which every transaction has: its disks. What a transaction
 * captures of it and a restore puts back is the part's own business; the record carries it as pieces (log/record.ts)
 * that nobody else reads. The agent calls in this order, and one transaction is under way at a time:
 *
 *     capture(n)                   the VM stands still: `stop` was answered, its outputs are drained, its device state is saved
 *     pieces(n, since)             the VM runs again; may be asked more than once for the same n
 *     committed(n)                 the escrow has it, and with it all that was captured before
 *     settled(n)                   only of the last one before the VM leaves
 *
 * The rule of pages holds for parts too: a record (n, since s) has **all that changed after s**, whatever became of the
 * transactions between. A transaction that comes to nothing is told to nobody: its pieces keep their number, and are in the
 * next record; n may be captured twice. What the part has put where it outlives the host (a committed write, in the shared image) it names
 * by a piece's `floor`: up to there the log lets go of its pieces.
 *
 * At a restore:
 *
 *     fence(g)                     what generations before g still do must have no effect from here on
 *     restore(n, pieces)           before the QEMU that is to run gets its device state: as it was at transaction n
 */
export interface StatePart {
  /** In records; never that of another part. */
  readonly name: string;
  /** A `stop` is about to be asked for, or is over: what it waits for must not wait for the transaction that it begins. */
  stopping?(on: boolean): void;
  /** Quick, for the guest stands still. @throws where it cannot be had: the transaction is void */
  capture(n: TransactionNumber): void | Promise<void>;
  /**
   * Asked by the control plane, so what is long is not read here: the data plane does (PieceSource), when it sends it. In
   * the order of their numbers, each piece at most 256 KiB, `n` and `since` as in `log/record.ts`.
   */
  pieces(n: TransactionNumber, since: TransactionNumber | "base"): readonly PieceSource[];
  committed(n: TransactionNumber): void;
  /**
   * Settles when what n and those before it have is where another host finds it without this one: n is committed, the VM
   * stands still, and leaves. @throws where that fails: the VM goes on here
   */
  settled(n: TransactionNumber): Promise<void>;
  /** @param generation the one that is to own the VM */
  fence(generation: number): void | Promise<void>;
  /** @param pieces what the log has of this part, oldest first. @throws where it is not as it has to be: nothing runs */
  restore(n: TransactionNumber, pieces: readonly PartPiece[]): void | Promise<void>;
}
