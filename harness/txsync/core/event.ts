import type { Message, RecordId } from "./message.ts";
import type {
  BaseState,
  Basis,
  Descriptor,
  Durable,
  FrameNumber,
  Generation,
  LogState,
  Role,
  TransactionNumber,
  VmState,
} from "./values.ts";

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
  /** What its transaction contains of the output. It may have been told to run, and have put out more since. */
  readonly contained: FrameNumber;
  /** As `AgentState.everFree`. To be written before any action of the step that set it is carried out. */
  readonly everFree: boolean;
  /** As `AgentState.ranFree`; to be written likewise. */
  readonly ranFree: boolean;
  /** `AgentState.opened` where that is a generation of this host's; to be written likewise. */
  readonly opened: Descriptor | null;
  /** As `AgentState.leftAt`. */
  readonly leftAt: RecordId | null;
  /** As `AgentState.protect` and `AgentState.base`. */
  readonly protect: boolean;
  readonly base: BaseState;
  /** Escrow: as `AgentState.log`, the last record that may have been answered for; to be written likewise. */
  readonly log: LogState | null;
  /** Escrow: as `AgentState.logLost`; to be written likewise. */
  readonly logLost: boolean;
}

/** What happens to an agent. */
export type EventBody =
  /**
   * The agent came up. `incarnation` tells this life from every other one of it: a random number. `durable` is `null` on
   * the very first start, `log` is the escrow's, as it was found.
   */
  | {
      readonly kind: "started";
      readonly incarnation: number;
      readonly durable: Durable | null;
      readonly memory: HostMemory | null;
      readonly log: LogState | null;
    }
  | { readonly kind: "timer"; readonly timer: TimerName }
  | { readonly kind: "message"; readonly from: Role; readonly message: Message }
  | { readonly kind: "promisePersisted"; readonly generation: Generation }
  /** Source: the harness or an operator asks for the migration. */
  | { readonly kind: "migrate" }
  /**
   * An operator asks that the VM that runs here be protected, or not any more. Nothing is asked of a VM that is being
   * migrated.
   */
  | { readonly kind: "protect"; readonly on: boolean }
  /** An operator names another escrow, which comes in the place of one that is gone. */
  | { readonly kind: "escrowReplaced"; readonly key: string }
  /** The base that is kept here is not the one that the escrow's records are relative to any more. */
  | { readonly kind: "baseVoid" }
  /** Escrow: that host has a new base for us. What the log has is relative to another one. */
  | { readonly kind: "baseOffered"; readonly from: Role }
  /** Source: QEMU has stopped its vCPUs, the package is captured and stored, nothing of it is forwarded yet. */
  | { readonly kind: "packageReady"; readonly mark: FrameNumber; readonly acked: FrameNumber }
  /** Source: as much memory of its protected VM as is worth it is at the target: the next transaction is the last here. */
  | { readonly kind: "memoryAhead" }
  /** Source: what its last transaction here has beside memory is where the target finds it (`Config.settles`). */
  | { readonly kind: "lastSettled"; readonly n: TransactionNumber }
  /** Target: the escrow has the base that this VM came with, and records may be relative to it. */
  | { readonly kind: "baseFollowed" }
  /** Source: QEMU gave the migration up before there was a package; it can run on here. */
  | { readonly kind: "migrationFailed" }
  /** Source: bytes of the package are still on their way; said now and then while they are. */
  | { readonly kind: "packageSending" }
  /** The VM on this host runs (target after the package, source or target after a restore): QEMU itself says so. */
  | { readonly kind: "vmRunning" }
  /** `runQemu` was refused, and QEMU says that it does not run. */
  | { readonly kind: "runFailed" }
  /** QEMU is gone: it exited, or its connection to us shows that it never comes back. */
  | { readonly kind: "qemuGone" }
  | { readonly kind: "allPagesArrived" }
  /**
   * The VM's host: base is (or is no longer) contained in what the escrow and this host hold together; one that was
   * begun here (`startProtection`): the escrow has all of it.
   */
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
  /** Target: nobody can say which pages change, so no transaction can be taken; and later: somebody can again. */
  | { readonly kind: "untrackable"; readonly why: string }
  | { readonly kind: "trackable" }
  /** Target: bytes of the record are still on their way; said now and then while they are. */
  | { readonly kind: "recordSending"; readonly generation: Generation; readonly n: TransactionNumber }
  /** Escrow: the record is stored whole (and synced, as the log's setting says). */
  | { readonly kind: "recordStored"; readonly generation: Generation; readonly n: TransactionNumber }
  /**
   * Escrow: it could not be stored; nothing of it is in the log. `why` where that is the disk's fault, `null` where there
   * was merely nothing to be stored: it comes again.
   */
  | {
      readonly kind: "recordFailed";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly why: string | null;
    }
  /** Escrow: one that was coming in could not even be received, by the disk's fault. */
  | {
      readonly kind: "recordNotReceived";
      readonly from: Role;
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly why: string;
    }
  /**
   * Escrow: the log found that the record contradicts what it has (a page is missing, the digest is another one).
   * Nothing of it is in the log.
   */
  | {
      readonly kind: "recordRefused";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly why: string;
    }
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

export type TimerName = "heartbeat" | "epoch" | "asked";
