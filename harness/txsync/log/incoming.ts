import type { LogState } from "../core/index.ts";
import type { RecordIntake } from "./intake.ts";
import type { RecordHead } from "./record.ts";
import type { RecordEnd } from "./record-parser.ts";

/** What the log does for a record that is being received. */
export interface Receiver {
  push(record: IncomingRecord, piece: Uint8Array): Promise<void>;
  finish(record: IncomingRecord): Promise<IncomingWhole>;
  commit(record: IncomingRecord): Promise<LogState>;
  discard(record: IncomingRecord): Promise<void>;
}

/** A record that has come whole, lies in the log's file and is not part of the log. */
export interface IncomingWhole {
  readonly head: RecordHead;
  readonly end: RecordEnd;
  /** Of the record, without its mark. */
  readonly bytes: number;
}

/** A record that is being received: its pieces are checked and written as they come. */
export class IncomingRecord {
  readonly #log: Receiver;
  /** For the log. */
  readonly intake: RecordIntake;
  /** For the log: why nothing can become of it any more. */
  failed: unknown;
  /** For the log: it was compacted for the sake of this one. */
  had_room_made = false;

  constructor(log: Receiver, intake: RecordIntake) {
    this.#log = log;
    this.intake = intake;
  }

  /** Of the record; `null` until it has come. */
  get head(): RecordHead | null {
    return this.intake.head;
  }

  /** Bytes that have come. */
  get bytes(): number {
    return this.intake.length;
  }

  /**
   * The next bytes, in pieces of any size up to a few mebibytes; wait for it before the next one comes. The bytes must
   * stay as they are until then.
   * @throws RecordError when they are not a record's; whatever the file says when it does not take them. In both cases
   * nothing is left of the record.
   */
  push(piece: Uint8Array): Promise<void> {
    return this.#log.push(this, piece);
  }

  /** @throws RecordError unless its end has come. */
  finish(): Promise<IncomingWhole> {
    return this.#log.finish(this);
  }

  /**
   * Makes it part of the log; stored when this returns (on disk if the log is so). A repeat of the last record is
   * stored already.
   * @throws RecordViolation when it must not be believed, LogBrokenError, or whatever the file says: it is not stored.
   */
  commit(): Promise<LogState> {
    return this.#log.commit(this);
  }

  /** It is not wanted any more. */
  discard(): Promise<void> {
    return this.#log.discard(this);
  }
}
