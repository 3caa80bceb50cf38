import type { TimerName } from "./event.ts";
import type { Message, RecordHeader, Refusal } from "./message.ts";
import type {
  Descriptor,
  Durable,
  FrameNumber,
  Generation,
  PageRoute,
  Role,
  Since,
  TransactionNumber,
} from "./values.ts";

/** What people are told; nothing is done because of it. */
export type Report =
  | { readonly what: "lease-lost" | "lease-regained"; readonly peer: Role }
  | { readonly what: "vote-asked"; readonly descriptor: Descriptor }
  | { readonly what: "vote-promised"; readonly descriptor: Descriptor; readonly to: Role }
  | { readonly what: "vote-refused"; readonly descriptor: Descriptor; readonly to: Role; readonly why: Refusal }
  | { readonly what: "generation-opened"; readonly descriptor: Descriptor }
  | { readonly what: "generation-closed"; readonly descriptor: Descriptor }
  /**
   * The first record of the generation is committed: from now on the VM outlives its host. Where not `covered`, it needs
   * the host that serves the base until `base-covered`.
   */
  | {
      readonly what: "protection-on";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly covered: boolean;
    }
  /** Escrow and owner together have all of the base: from now on the host that serves it may be lost. */
  | { readonly what: "base-covered" }
  | { readonly what: "protection-off"; readonly why: string }
  | { readonly what: "committed"; readonly generation: Generation; readonly n: TransactionNumber }
  | { readonly what: "page-route"; readonly route: PageRoute }
  | { readonly what: "closed-out" }
  | { readonly what: "lost"; readonly why: string }
  | { readonly what: "violation"; readonly why: string }
  /** Escrow: its disk takes no records, said once; and later: it does again. */
  | { readonly what: "cannot-store"; readonly why: string }
  | { readonly what: "stores-again" }
  /** The VM goes on where it is. */
  | { readonly what: "migration-given-up"; readonly why: string };

/** What an agent wants done. */
export type Action =
  | { readonly kind: "send"; readonly to: Role; readonly message: Message }
  | { readonly kind: "setTimer"; readonly timer: TimerName; readonly delay_ms: number }
  /** Write, fsync, rename, fsync the directory; then event `promisePersisted`. */
  | { readonly kind: "persistPromise"; readonly durable: Durable }
  /** Whoever does not have this key is nobody in the escrow's role, from now on. */
  | { readonly kind: "answerEscrow"; readonly key: string }
  /** Source: start QEMU's migration through the relays; its package is held back until a message `package` is sent. */
  | { readonly kind: "startMigration" }
  | { readonly kind: "cancelMigration" }
  /**
   * A new base of the VM that runs here: track what changes from now on, forget what was found before, then let the
   * escrow copy the memory while the guest runs. What changed since it was tracked is in the first record.
   */
  | { readonly kind: "startProtection" }
  /** The VM here is not protected any more, and runs on: nothing is tracked, nothing offered. */
  | { readonly kind: "stopProtection" }
  /** Escrow: throw base and log away, and copy the base that `from` offers. */
  | { readonly kind: "adoptBase"; readonly from: Role }
  | { readonly kind: "startPageServer" }
  | { readonly kind: "stopPageServer" }
  /** Target: feed the package to QEMU, then event `vmRunning`. */
  | { readonly kind: "loadPackage" }
  /**
   * Target: take transaction n; its record holds every page that changed since transaction `since` was taken, however many
   * were taken, failed or dropped in between. A take that is under way ends first.
   */
  | {
      readonly kind: "takeTransaction";
      readonly generation: Generation;
      readonly n: TransactionNumber;
      readonly since: Since;
      /** It is the switchover: the VM stands still when it is taken, until `cancelMigration` or for good. */
      readonly last?: true;
    }
  /** Target: the record is stored; its body is not needed any more. */
  | { readonly kind: "forgetRecord"; readonly generation: Generation; readonly n: TransactionNumber }
  /** Target: the record will not be sent again; which pages changed since when is not touched by that. */
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
  /**
   * `cont` the restored VM; event `vmRunning` follows when QEMU says that it runs, `runFailed` when it says that it does
   * not. Never before the vote.
   */
  | { readonly kind: "runQemu" }
  | { readonly kind: "stopQemu" }
  | { readonly kind: "setPageRoute"; readonly route: PageRoute }
  /** The migration is over: source removes its QEMU and RAM file, escrow its log and copy of the base. */
  | { readonly kind: "finish" }
  | { readonly kind: "report"; readonly report: Report };
