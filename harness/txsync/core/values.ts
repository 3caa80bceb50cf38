/**
 * Words of the txsync core that everything else is said in: who, which incarnation, which transaction, what may be done.
 * Bytes never pass through the core: frames, records and pages are named by numbers, the shell holds their bodies.
 */

export type Role = "source" | "target" | "escrow";
/** Hosts on which the VM can run. */
export type Owner = "source" | "target";

/** Number of the VM's incarnation; 0 is the VM before its migration. */
export type Generation = number & { readonly __brand: "Generation" };
/** Number of a transaction; 0 is the device state of the stream's package over the base. */
export type TransactionNumber = number & { readonly __brand: "TransactionNumber" };
/** Number of an output frame, counted over the VM's whole life; 0 is "none yet". A mark is the last frame covered. */
export type FrameNumber = number & { readonly __brand: "FrameNumber" };

export const generation = (n: number): Generation => n as Generation;
export const transactionNumber = (n: number): TransactionNumber => n as TransactionNumber;
export const frameNumber = (n: number): FrameNumber => n as FrameNumber;

/**
 * What the owner of a generation may do.
 * - `protected`: output leaves when its transaction is committed by the escrow.
 * - `claim`: the owner restores the VM from the last commit; nothing leaves. Another claim may supersede it.
 * - `unprotected`: the escrow is gone; output leaves at once. Cannot be superseded by anyone but its owner.
 * - `final`: the VM is whole on its owner (handed off, or restored); output leaves at once, protection is over.
 */
export type Mode = "protected" | "claim" | "unprotected" | "final";

/** One generation: who owns it and how. Generation 0 is `{source, final}`: the VM as it was before. */
export interface Descriptor {
  readonly generation: Generation;
  readonly owner: Owner;
  readonly mode: Mode;
  /** The escrow's log restores the VM only if its last record is of this generation or a later one. */
  readonly validFrom: Generation;
  /** What a `final` VM was restored from; `null` if it never lost its state. */
  readonly basis: Basis | null;
}

/**
 * A restored VM: the claim under which it was fetched, and the transaction. Between claim and second vote another
 * generation may have come and committed more; who knows of that must refuse.
 */
export interface Basis {
  readonly claim: Generation;
  readonly n: TransactionNumber;
}

/** What an agent remembers on disk, synced before anything that rests on it is said. */
export interface Durable {
  /** The highest generation promised; everything of lower generations is refused for ever. */
  readonly descriptor: Descriptor;
  /** Known to have been opened (only noted for generations that let output out freely). */
  readonly opened: boolean;
  /** The key of the escrow that is answered, where that is not the one that this agent was configured with. */
  readonly escrow?: string;
}

/** What a record is relative to: all pages that changed since this transaction, or since the base. */
export type Since = TransactionNumber | "base";

/** The escrow's log: its last whole record. `null` stands for an empty log. */
export interface LogState {
  readonly last: TransactionNumber;
  readonly generation: Generation;
  /** Last output frame that the record covers. */
  readonly mark: FrameNumber;
  /** Last frame known to have reached the receiving edge when the record was taken. */
  readonly acked: FrameNumber;
}

/**
 * The VM on this host: `incoming` waits for the package, `loading` has it, `restoring` is being made from a
 * transaction, `ready` is restored and still, `gone` died or was removed, `none` never was here or left.
 */
export type VmState = "none" | "incoming" | "loading" | "running" | "restoring" | "ready" | "gone";

/**
 * `idle` before and after a cancelled migration, `draining`: the target runs and pages are still arriving; `watching`: no
 * migration is under way, and a VM that is protected may have to be made again here.
 */
export type Phase =
  | "idle"
  | "precopy"
  | "switchover"
  | "draining"
  | "handoff"
  | "completed"
  | "closed-out"
  | "lost"
  | "watching";

/**
 * What the log's records are relative to, as the VM's host sees it. `none`: the escrow has nothing of this VM, `copying`:
 * the shell tracks what changes and hands the running VM's memory over, `held`: records are relative to it. At the escrow
 * `held` is a base that was adopted and that no generation rests on yet: the VM's host is not done with us. `following`: at
 * the target of a VM that was protected before: the escrow lays its log over what it has, so that records of this host are
 * relative to that; until then there are none.
 */
export type BaseState = "none" | "copying" | "following" | "held";

export type PageRoute = "direct" | "via-escrow" | "escrow" | "none";
