import type {
  Descriptor,
  FrameNumber,
  Generation,
  LogState,
  Phase,
  Since,
  TransactionNumber,
  VmState,
} from "./values.ts";

/** What every heartbeat carries. */
export interface Status {
  /** Which life of the agent says so: a number that no other life of it has. */
  readonly incarnation: number;
  /** The sender's clock, to tell an older status of the same life that was overtaken. */
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
  /** Escrow: the record that is there whole and is being stored. */
  readonly storing: RecordId | null;
  readonly hearsSource: boolean;
  readonly hearsTarget: boolean;
  readonly hearsEscrow: boolean;
  readonly baseComplete: boolean;
  /**
   * It has a base of its own to restore from: the file that was the VM's memory at switchover. Escrow: its base came with
   * all that has to be known by who never had the VM.
   */
  readonly hasBase: boolean;
  readonly phase: Phase;
  /** As `AgentState.escrow`. */
  readonly escrow: string | null;
}

/** What agents say to each other. */
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
  /** The shell sends the package's bytes with it. */
  | ({ readonly kind: "package" } & PackageHead)
  /**
   * The shell sends the record itself, and the escrow's core gets this when all of it is there. `since` "base": all that
   * differs from the base.
   */
  | ({ readonly kind: "append" } & RecordHeader)
  /** With what the escrow has beside the record: one whose host came up anew stores on, and has no base any more. */
  | {
      readonly kind: "appended";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly status: Status;
    }
  | {
      readonly kind: "append-refused";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly promised: Descriptor;
      /** The log as it is, and stays, without that record. */
      readonly log: LogState | null;
      readonly why: AppendRefusal;
    }
  /**
   * Source to target: its protected VM is to come. Nothing is promised before its last transaction here is committed: a
   * promise would end the generation in which it is. Asked until it is answered, which is for this attempt.
   */
  | { readonly kind: "join"; readonly attempt: number }
  | { readonly kind: "joined"; readonly attempt: number; readonly status: Status }
  /** The source gave this attempt up before switchover. */
  | { readonly kind: "cancel"; readonly attempt: number };

export interface PackageHead {
  /** In which the target has it; the source has promised it to itself. */
  readonly descriptor: Descriptor;
  /** The transaction that it is: the last one of a VM that was protected before, else 0. */
  readonly n: TransactionNumber;
  /** Frames up to this one were emitted before switchover. */
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
}

export interface RecordId {
  readonly generation: Generation;
  readonly n: TransactionNumber;
}

export interface RecordHeader extends RecordId {
  readonly since: Since;
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
}

/**
 * Why a record was not stored.
 * - `generation`: it is not of the generation that the escrow has promised, or the log was lost since that was opened.
 * - `gap`: it is not relative to the log's last record.
 * - `violation`: it contradicts what the log has. Nobody honest sends such a record.
 * - `cannot-store`: the disk does not take it now. The same record is wanted again, later.
 */
export type AppendRefusal = "generation" | "gap" | "violation" | "cannot-store";

export type Refusal =
  | "promised-higher"
  | "busy"
  | "belongs-to-another"
  | "just-started"
  | "hears-owner"
  | "stale"
  | "log-cannot-restore"
  | "restored-too-old";
