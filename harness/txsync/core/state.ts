import type { Action } from "./action.ts";
import type { Config } from "./config.ts";
import type { PackageHead, RecordHeader, RecordId, Status } from "./message.ts";
import type {
  BaseState,
  Basis,
  Descriptor,
  Durable,
  FrameNumber,
  Generation,
  LogState,
  Owner,
  PageRoute,
  Phase,
  Role,
  Since,
  TransactionNumber,
  VmState,
} from "./values.ts";

/** A generation that this agent tries to open. */
export interface Candidacy {
  readonly descriptor: Descriptor;
  /** `pre`: asking who would promise. `asking`: promised to itself on disk (or being written), asking in earnest. */
  readonly stage: "pre" | "asking";
  readonly asked: readonly Role[];
  readonly nextAsk_ms: number;
}

/** A question before a vote that is answered later: `pre` promises bind nobody. */
export interface Asker {
  readonly from: Role;
  readonly descriptor: Descriptor;
  readonly asked_ms: number;
}

/** A write of the durable record that is under way, and what follows it. */
export interface Persisting {
  readonly durable: Durable;
  readonly then:
    | { readonly kind: "reply"; readonly to: Role }
    | { readonly kind: "candidate" }
    | { readonly kind: "switchover" }
    | { readonly kind: "load"; readonly package: PackageHead }
    | { readonly kind: "escrow" }
    | { readonly kind: "nothing" };
}

export interface Gate {
  /** Frames emitted by the VM, let out, known to have arrived, and covered by a committed transaction. */
  readonly produced: FrameNumber;
  readonly released: FrameNumber;
  readonly acked: FrameNumber;
  readonly committed: FrameNumber;
}

export interface Transactions {
  /** `taking`: QEMU is being asked. `sent`: the escrow has it or soon will; at most one is under way. */
  readonly stage: "idle" | "taking" | "sent";
  readonly next: TransactionNumber;
  readonly record: RecordHeader | null;
  readonly sent_ms: number;
  /** How long the record is waited for before it is sent again: longer each time the escrow cannot store it. */
  readonly patience_ms: number;
  /** Since when the escrow has been saying of the record under way that it cannot store it, and when it did so last. */
  readonly unstored: { readonly since_ms: number; readonly said_ms: number } | null;
  readonly lastTaken_ms: number;
  /**
   * Of the last record that the escrow has: from when it was taken until it was known to have it; and of that from when
   * bytes of it moved last, or it was sent again.
   */
  readonly took_ms: number;
  readonly stored_in_ms: number;
  /**
   * What the next record is relative to: the escrow's last stored record, as a promise, an answer or a refusal named it;
   * "base" where the log is empty, or the escrow distrusts what it has of us.
   */
  readonly since: Since;
  /** Records in a row that the escrow refused as a violation, counted up to two. */
  readonly refused: number;
  /** The last attempt came to nothing: the next one waits for its epoch, whatever waits for it. */
  readonly hold: boolean;
  /** The generation of which a record was committed, and protection said to be on. */
  readonly protectedIn: Generation | null;
  /** Last transaction known to be committed and to hold all that was let out; -1 none, `null` unknown. */
  readonly committed: number | null;
}

/**
 * Source of a protected VM that migrates: how far its last transaction here is, which is the switchover. `wanted`: memory
 * is ahead; `taking`; `standing`: it is taken, the VM stands still until the escrow has it; `settling`: it has, and what the
 * transaction has beside memory is not where the target finds it yet; `stored`: nothing is in its way.
 */
export type Leaving =
  | { readonly stage: "wanted" }
  | { readonly stage: "taking"; readonly n: TransactionNumber }
  | {
      readonly stage: "standing";
      readonly n: TransactionNumber;
      readonly since_ms: number;
      /** When bytes of its record were last seen to move. */
      readonly moved_ms: number;
    }
  | { readonly stage: "settling"; readonly n: TransactionNumber; readonly since_ms: number }
  | { readonly stage: "stored"; readonly n: TransactionNumber };

export interface AgentState {
  readonly config: Config;
  readonly now_ms: number;
  /** Which life of the agent this is. */
  readonly incarnation: number;
  /** Lives of peers that were followed by another one, the latest last. */
  readonly superseded: readonly number[];
  /** Until then this agent has not listened long enough to say that it does not hear somebody. */
  readonly graceUntil_ms: number;
  readonly heardSource_ms: number;
  readonly heardTarget_ms: number;
  readonly heardEscrow_ms: number;
  readonly peerSource: Status | null;
  readonly peerTarget: Status | null;
  readonly peerEscrow: Status | null;
  /** In force from the moment it is decided; on disk a little later (`persisting`). */
  readonly promised: Descriptor;
  readonly persisting: Persisting | null;
  /** The key of the escrow that is answered; `null`: the one that this agent was configured with. */
  readonly escrow: string | null;
  /** Escrow: it has the place that it came for. */
  readonly letIn: boolean;
  /** Escrow: whom to tell of the promise once the record under way is stored. */
  readonly replyAfterStore: Role | null;
  /** The highest generation known to have been opened, by whomever. */
  readonly opened: Descriptor;
  /**
   * The generation that this life of the agent began itself. A restarted owner has lost what was under way in its
   * generation: it opens a new one before it appends again, even if others tell it that the old one is open.
   */
  readonly begun: Generation | null;
  /** Being opened is on disk (free generations of ours). */
  readonly openedNoted: boolean;
  /** The highest generation that anybody was heard to have promised or tried. */
  readonly seen: Generation;
  readonly candidacy: Candidacy | null;
  /** Who asked whether it would be promised, and was refused because an owner was heard. */
  readonly asker: Asker | null;
  readonly phase: Phase;
  readonly vm: VmState;
  /** Target: why nobody can say which pages change. */
  readonly untrackable: string | null;
  /** The restored VM, which stands ready, was asked to run. */
  readonly runAsked: boolean;
  /**
   * The VM of the present `final` generation has run here: it must not be restored from the log any more. A VM that was
   * asked to run, and is not known to have, has let nothing out.
   */
  readonly ranFree: boolean;
  /** A free generation of ours (after 0) was opened, in this life or an earlier one, as far as can be known. */
  readonly everFree: boolean;
  /** An operator, or the configuration, wants the VM that runs here to be protected for as long as it runs. */
  readonly protect: boolean;
  readonly base: BaseState;
  /** Since when the escrow, which is heard, has said that it has no complete base; `null` while it has. */
  readonly baseMissing_ms: number | null;
  /** Since when the escrow, which is heard, has said that it has a whole base, while ours is still to be copied. */
  readonly offerUnheard_ms: number | null;
  /** Source: the epoch timer goes round; the target's always does. */
  readonly ticking: boolean;
  readonly hasBase: boolean;
  readonly hasPackage: boolean;
  readonly joined: readonly Role[];
  /** Source: the migration that it tries; target: the one that it waits for the package of. */
  readonly attempt: number;
  /** Target: when it began to wait for the package. */
  readonly incomingSince_ms: number;
  /** Source: when the package was last sent, or seen to be moving. */
  readonly packageSent_ms: number;
  /** Source: QEMU's migration was started. */
  readonly migrating: boolean;
  readonly leaving: Leaving | null;
  /**
   * Source: the transaction that the package is, where it is one: where the log's last is that, the package is the VM.
   * Target: its number, and the generation in which it came; what the escrow makes its base of.
   */
  readonly leftAt: RecordId | null;
  /** Target: since when the escrow, which is heard, has said that it cannot make that base; `null` while it can. */
  readonly cannotFollow_ms: number | null;
  /** Since when the source, which is heard, says that it does not hear the escrow. */
  readonly sourceDeaf_ms: number | null;
  readonly allPages: boolean;
  readonly baseCovered: boolean;
  readonly baseComplete: boolean;
  readonly route: PageRoute;
  readonly gate: Gate;
  readonly tx: Transactions;
  /** The escrow refused our record: open a new generation before the next one. */
  readonly reassert: boolean;
  readonly log: LogState | null;
  /**
   * Escrow: the log lacks records that may have been answered for, and that later ones alone count is not on disk yet. What
   * is in it now tells the next life nothing.
   */
  readonly logLost: boolean;
  readonly storing: RecordHeader | null;
  readonly storingFrom: Owner;
  /** Escrow: a record that came while a promise or another record was being written. */
  readonly waiting: RecordHeader | null;
  readonly waitingFrom: Owner;
  /** Escrow: that its disk takes no records was said, and not yet that it does again. */
  readonly cannotStore: boolean;
  /** What a claim restores from. */
  readonly restoreFrom: { readonly n: TransactionNumber; readonly from: "log" | "package" } | null;
  readonly restored: Basis | null;
  /** Before that no restore is tried again, nor is the restored VM asked again to run. */
  readonly retry_ms: number;
  readonly finished: boolean;
  /** Peers whose lease ran out, as last reported. */
  readonly silent: readonly Role[];
}

/** A state while one step works on it; nested objects are replaced, never changed. */
export type Draft = { -readonly [K in keyof AgentState]: AgentState[K] };

export interface Step {
  readonly state: AgentState;
  readonly actions: readonly Action[];
}
