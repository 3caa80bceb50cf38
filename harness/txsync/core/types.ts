/**
 * Words of the txsync core: what an agent knows, what happens to it (events), what it wants done (actions) and what
 * agents say to each other (messages). The core owns no clock, socket, disk or process; all of them are the shell's.
 *
 *     shell --event--> step(state, event) --> { state, actions } --action--> shell
 *
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
}

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

/** `idle` before and after a cancelled migration, `draining`: the target runs and pages are still arriving. */
export type Phase = "idle" | "precopy" | "switchover" | "draining" | "handoff" | "completed" | "closed-out" | "lost";

export type PageRoute = "direct" | "via-escrow" | "escrow" | "none";

/** What every heartbeat carries. */
export interface Status {
  /** The sender's clock, to tell an older status that was overtaken. */
  readonly at_ms: number;
  readonly promised: Descriptor;
  /** The highest generation known to have been opened; passed on to whoever has not heard. */
  readonly opened: Descriptor;
  readonly vm: VmState;
  /** Own judgement: "I have the VM and am able to go on with it". Peers refuse to promise while they hear this. */
  readonly well: boolean;
  /** Target: last transaction known to be committed; -1 for none yet, `null` when it cannot know. */
  readonly committed: number | null;
  readonly log: LogState | null;
  readonly hearsSource: boolean;
  readonly hearsTarget: boolean;
  readonly hearsEscrow: boolean;
  readonly baseComplete: boolean;
  readonly phase: Phase;
}

export type Message =
  | { readonly kind: "ping"; readonly sent_ms: number; readonly status: Status }
  | { readonly kind: "pong"; readonly echo_ms: number; readonly status: Status }
  /**
   * Asks for a promise; `pre` only asks whether it would be given, and binds nobody. `attempt` tells one try of the
   * source to migrate from the next: its clock when it was asked to. 0 where nobody joins a migration.
   */
  | { readonly kind: "ask"; readonly pre: boolean; readonly descriptor: Descriptor; readonly attempt: number }
  | {
      readonly kind: "promise";
      readonly pre: boolean;
      readonly descriptor: Descriptor;
      /** As it was when the promise was made: its log is the one that the promise is about. */
      readonly status: Status;
    }
  | {
      readonly kind: "refuse";
      readonly pre: boolean;
      readonly descriptor: Descriptor;
      readonly promised: Descriptor;
      readonly why: Refusal;
    }
  /** The shell sends the package's bytes with it. Frames up to `mark` were emitted before switchover. */
  | {
      readonly kind: "package";
      readonly generation: Generation;
      readonly mark: FrameNumber;
      readonly acked: FrameNumber;
    }
  /** The shell sends the record's body with it. `since` "base": all that differs from the base. */
  | ({ readonly kind: "append" } & RecordHeader)
  | { readonly kind: "appended"; readonly generation: Generation; readonly n: TransactionNumber }
  | {
      readonly kind: "append-refused";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly promised: Descriptor;
      readonly why: "generation" | "gap";
    }
  /** The source gave this attempt up before switchover. */
  | { readonly kind: "cancel"; readonly attempt: number };

export interface RecordHeader {
  readonly generation: Generation;
  readonly n: TransactionNumber;
  readonly since: TransactionNumber | "base";
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
}

export type Refusal =
  | "promised-higher"
  | "busy"
  | "belongs-to-another"
  | "just-started"
  | "hears-owner"
  | "stale"
  | "log-cannot-restore"
  | "restored-too-old";

/** What a restarted agent finds in its host's memory (tmpfs); `null` when the memory is gone. */
export interface HostMemory {
  readonly vm: VmState;
  readonly produced: FrameNumber;
  readonly acked: FrameNumber;
  /** As `Transactions.committed`. */
  readonly committed: number | null;
  readonly hasBase: boolean;
  readonly hasPackage: boolean;
  readonly allPages: boolean;
  /** The VM stands ready, restored from this. */
  readonly restored: Basis | null;
  /** As `AgentState.everFree`. To be written before any action of the step that set it is carried out. */
  readonly everFree: boolean;
}

export type EventBody =
  /** The agent came up. `durable` is `null` on the very first start, `log` is the escrow's. */
  | {
      readonly kind: "started";
      readonly durable: Durable | null;
      readonly memory: HostMemory | null;
      readonly log: LogState | null;
    }
  | { readonly kind: "timer"; readonly timer: TimerName }
  | { readonly kind: "message"; readonly from: Role; readonly message: Message }
  | { readonly kind: "promisePersisted"; readonly generation: Generation }
  /** Source: the harness or an operator asks for the migration. */
  | { readonly kind: "migrate" }
  /** Source: QEMU has stopped its vCPUs, the package is captured and stored, nothing of it is forwarded yet. */
  | { readonly kind: "packageReady"; readonly mark: FrameNumber; readonly acked: FrameNumber }
  /** Source: QEMU gave the migration up before there was a package; it can run on here. */
  | { readonly kind: "migrationFailed" }
  /** The VM on this host runs (target after the package, source or target after a restore). */
  | { readonly kind: "vmRunning" }
  /** QEMU is gone: it exited, or its connection to us shows that it never comes back. */
  | { readonly kind: "qemuGone" }
  | { readonly kind: "allPagesArrived" }
  /** Target: base is (or is no longer) contained in what escrow and target hold together. */
  | { readonly kind: "baseCovered"; readonly covered: boolean }
  /** Escrow: its own copy of the base is complete (or was lost). */
  | { readonly kind: "baseComplete"; readonly complete: boolean }
  /** The VM has emitted frames up to this number; they are stored in the host's memory. */
  | { readonly kind: "output"; readonly upTo: FrameNumber }
  /** The receiving edge has everything up to here. */
  | { readonly kind: "edgeAcked"; readonly upTo: FrameNumber }
  /** The receiving edge (re)connected and has everything up to here: what lies above is let out again. */
  | { readonly kind: "edgeConnected"; readonly upTo: FrameNumber }
  | {
      readonly kind: "transactionTaken";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly mark: FrameNumber;
    }
  | { readonly kind: "transactionFailed"; readonly generation: Generation; readonly n: TransactionNumber }
  /** Escrow: the record is stored whole (and synced, as the log's setting says). */
  | { readonly kind: "recordStored"; readonly generation: Generation; readonly n: TransactionNumber }
  | { readonly kind: "recordFailed"; readonly generation: Generation; readonly n: TransactionNumber }
  | {
      readonly kind: "restoreReady";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly mark: FrameNumber;
      readonly acked: FrameNumber;
    }
  | { readonly kind: "restoreFailed"; readonly generation: Generation };

/** Every event carries the local clock, which only needs to go forward; drift costs time, never safety. */
export type AgentEvent = EventBody & { readonly now_ms: number };

export type TimerName = "heartbeat" | "epoch";

export type Report =
  | { readonly what: "lease-lost" | "lease-regained"; readonly peer: Role }
  | { readonly what: "vote-asked"; readonly descriptor: Descriptor }
  | { readonly what: "vote-promised"; readonly descriptor: Descriptor; readonly to: Role }
  | { readonly what: "vote-refused"; readonly descriptor: Descriptor; readonly to: Role; readonly why: Refusal }
  | { readonly what: "generation-opened"; readonly descriptor: Descriptor }
  | { readonly what: "generation-closed"; readonly descriptor: Descriptor }
  | { readonly what: "protection-on" }
  | { readonly what: "protection-off"; readonly why: string }
  | { readonly what: "committed"; readonly generation: Generation; readonly n: TransactionNumber }
  | { readonly what: "page-route"; readonly route: PageRoute }
  | { readonly what: "closed-out" }
  | { readonly what: "lost"; readonly why: string }
  | { readonly what: "violation"; readonly why: string };

export type Action =
  | { readonly kind: "send"; readonly to: Role; readonly message: Message }
  | { readonly kind: "setTimer"; readonly timer: TimerName; readonly delay_ms: number }
  /** Write, fsync, rename, fsync the directory; then event `promisePersisted`. */
  | { readonly kind: "persistPromise"; readonly durable: Durable }
  /** Source: start QEMU's migration through the relays (the package is held back until `sendPackage`). */
  | { readonly kind: "startMigration" }
  | { readonly kind: "cancelMigration" }
  /** Source: the relay may forward the package; the page service begins behind it. */
  | { readonly kind: "sendPackage"; readonly to: Role }
  | { readonly kind: "startPageServer" }
  | { readonly kind: "stopPageServer" }
  /** Target: feed the package to QEMU, then event `vmRunning`. */
  | { readonly kind: "loadPackage" }
  | {
      readonly kind: "takeTransaction";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly since: TransactionNumber | "base";
    }
  /** The record will never be stored: its pages count as changed again. */
  | { readonly kind: "dropRecord"; readonly generation: Generation; readonly n: TransactionNumber }
  /** Escrow: append the record whose body came with the message. */
  | { readonly kind: "storeRecord"; readonly header: RecordHeader }
  /** Let out the frames from..to (both included), stamped with the generation. */
  | {
      readonly kind: "releaseOutput";
      readonly generation: Generation;
      readonly from: FrameNumber;
      readonly to: FrameNumber;
    }
  /** Fetch transaction n from the escrow (or take the own package), write RAM, start a paused QEMU. */
  | {
      readonly kind: "startRestore";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly from: "log" | "package";
    }
  | { readonly kind: "abortRestore" }
  /** `cont` the restored VM; event `vmRunning` follows. Never twice, never before the vote. */
  | { readonly kind: "runQemu" }
  | { readonly kind: "stopQemu" }
  | { readonly kind: "setPageRoute"; readonly route: PageRoute }
  /** The migration is over: source removes its QEMU and RAM file, escrow its log and copy of the base. */
  | { readonly kind: "finish" }
  | { readonly kind: "report"; readonly report: Report };

/** Rules that the simulator may switch off, to show that it finds the harm. Production uses `ALL_RULES`. */
export interface Rules {
  /** A promise is on disk before it is sent. */
  readonly promiseDurable: boolean;
  /** The escrow refuses records of generations older than its promise. */
  readonly refuseOldRecords: boolean;
  /** The gate opens when the escrow has said so, not when the transaction is taken. */
  readonly gateWaitsForCommit: boolean;
  /** The escrow's silence alone does not open the gate: that takes the source's promise. */
  readonly unprotectedNeedsVote: boolean;
  /** Who promised a generation that lets output out freely promises none to anyone else. */
  readonly freeBindsForEver: boolean;
  /** An agent that hears a well owner refuses to promise. */
  readonly refuseWhileHearing: boolean;
  /** A restarted target opens a new generation before it appends again. */
  readonly restartOpensGeneration: boolean;
  /** A promise waits for a record that is being stored, and names it. */
  readonly promiseWaitsForStore: boolean;
  /** A log that missed an unprotected time restores nothing. */
  readonly logMustBeValid: boolean;
  /** The source's own promise is on disk before the package leaves. */
  readonly packageAfterPromise: boolean;
  /** A new owner lets out again what it cannot know to have arrived. */
  readonly letOutAgain: boolean;
  /** A claimed VM runs only after the second vote. */
  readonly runAfterVote: boolean;
  /** The second vote asks whether more was committed since the claim. */
  readonly finalChecksBasis: boolean;
}

export const ALL_RULES: Rules = {
  promiseDurable: true,
  refuseOldRecords: true,
  gateWaitsForCommit: true,
  unprotectedNeedsVote: true,
  freeBindsForEver: true,
  refuseWhileHearing: true,
  restartOpensGeneration: true,
  promiseWaitsForStore: true,
  logMustBeValid: true,
  packageAfterPromise: true,
  letOutAgain: true,
  runAfterVote: true,
  finalChecksBasis: true,
};

export interface Config {
  readonly role: Role;
  readonly lease_ms: number;
  readonly heartbeat_ms: number;
  readonly epoch_ms: number;
  /** `host`: hold the first output until the base would survive the source's host. */
  readonly durability: "host" | "process";
  /** Escrow: does a stored record survive the loss of the host's memory? */
  readonly logSync: "memory" | "disk";
  readonly rules: Rules;
}

export const DEFAULT_TIMING = { lease_ms: 500, heartbeat_ms: 100, epoch_ms: 100 } as const;

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
