import type { Action } from "./action.ts";
import type { Config } from "./config.ts";
import type { RecordHeader, Status } from "./message.ts";
import type {
  Basis,
  Descriptor,
  Durable,
  FrameNumber,
  Generation,
  LogState,
  PageRoute,
  Phase,
  Role,
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

/** A write of the durable record that is under way, and what follows it. */
export interface Persisting {
  readonly durable: Durable;
  readonly then:
    | { readonly kind: "reply"; readonly to: Role }
    | { readonly kind: "candidate" }
    | { readonly kind: "switchover" }
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
  readonly lastTaken_ms: number;
  /** The next record holds all that differs from the base, because the last one's fate is unknown. */
  readonly cumulative: boolean;
  /** Last transaction known to be committed and to hold all that was let out; -1 none, `null` unknown. */
  readonly committed: number | null;
}

export interface AgentState {
  readonly config: Config;
  readonly now_ms: number;
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
  readonly phase: Phase;
  readonly vm: VmState;
  /** The VM of the present `final` generation has run here: it must not be restored from the log any more. */
  readonly ranFree: boolean;
  /** A free generation of ours (after 0) was opened, in this life or an earlier one, as far as can be known. */
  readonly everFree: boolean;
  readonly hasBase: boolean;
  readonly hasPackage: boolean;
  readonly joined: readonly Role[];
  /** Source: the migration that it tries; target: the one that it waits for the package of. */
  readonly attempt: number;
  /** Target: when it began to wait for the package. */
  readonly incomingSince_ms: number;
  /** Source: QEMU's migration was started. */
  readonly migrating: boolean;
  readonly allPages: boolean;
  readonly baseCovered: boolean;
  readonly baseComplete: boolean;
  readonly route: PageRoute;
  readonly gate: Gate;
  readonly tx: Transactions;
  /** The escrow refused our record: open a new generation before the next one. */
  readonly reassert: boolean;
  readonly log: LogState | null;
  readonly storing: RecordHeader | null;
  /** What a claim restores from. */
  readonly restoreFrom: { readonly n: TransactionNumber; readonly from: "log" | "package" } | null;
  readonly restored: Basis | null;
  readonly retryRestore_ms: number;
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
