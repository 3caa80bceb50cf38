import { setImmediate as turn } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import { partPieces } from "../device/piece-source.ts";
import { ENTRY_BYTES } from "../dirty/pages.ts";
import { BATCH_PAGES, readSpool } from "../dirty/spool.ts";
import { RecordEncoder } from "../log/index.ts";
import { encodeNote } from "../pages/notes.ts";
import type { Lender } from "../pages/page-source.ts";
import { encodeRecordPiece } from "../pages/record-frames.ts";
import { type DataShell, log } from "./data-shell.ts";
import type { TakenRecord } from "./protocol.ts";

/** So much may wait in the connection's buffer before the next piece is read from the spool. */
const BACKLOG_BYTES = 1 << 20;
const MOVES_EVERY_MS = 40;
/** One that takes longer is told of as often, for whoever watches. */
const PROGRESS_EVERY_MS = 2_000;

interface UnderWay {
  readonly record: TakenRecord;
  readonly stream: number;
  readonly connection: number;
  readonly work: Promise<void>;
  /** All bytes of it have been handed to the connection. */
  sent: boolean;
  cancelled: boolean;
  /** Settles when it is cancelled: what waits for a link that stalls holds the spool no longer. */
  readonly given_up: PromiseWithResolvers<void>;
}

/**
 * Sends the record that was taken last from its spool to the escrow, in pieces, no faster than they are taken. The core
 * asks again while it is not answered; what is still on its way, or known to be there, is not sent twice.
 */
export class RecordSender {
  readonly #shell: DataShell;
  readonly #onSent: (bytes: number) => void;
  #now: UnderWay | undefined;
  #stream = 0;
  /** The record that the escrow said to have, and over which connection it had gone there. */
  #here: { readonly generation: number; readonly n: number; readonly connection: number } | undefined;
  #told_ms = Number.NEGATIVE_INFINITY;
  #progress_ms = Number.NEGATIVE_INFINITY;
  /** The record of which half was said to be on its way: once, however often it is sent. */
  #half: TakenRecord | undefined;

  /** @param onSent told of every piece, bytes */
  constructor(shell: DataShell, onSent: (bytes: number) => void = () => undefined) {
    this.#shell = shell;
    this.#onSent = onSent;
  }

  send(record: TakenRecord): void {
    const { peers } = this.#shell;
    const connection = peers.connection("escrow", "bulk");
    if (connection === undefined) return;
    const now = this.#now;
    const { generation, n } = record.header;
    if (
      now !== undefined &&
      !now.cancelled &&
      now.record.header.generation === generation &&
      now.record.header.n === n
    ) {
      const here = this.#here?.generation === generation && this.#here.n === n && this.#here.connection === connection;
      if (here) peers.sendData("escrow", "bulk", encodeNote({ kind: "record-again", generation, n }));
      // On its way in a connection that still stands: it arrives, or the connection ends.
      if (here || now.connection === connection) return;
    }
    if (now !== undefined) cancel(now);
    this.#begin(record, connection, now?.work);
  }

  /** The escrow has the record that went over this connection. */
  here(generation: number, n: number): void {
    const connection = this.#shell.peers.connection("escrow", "bulk");
    if (connection !== undefined) this.#here = { generation, n, connection };
  }

  /** What came of it was of no use there: when it is asked for again all of it goes. */
  spoilt(): void {
    this.#here = undefined;
    if (this.#now !== undefined) cancel(this.#now);
  }

  /** Whoever takes it makes room for it: that is no standstill. */
  waits(): void {
    if (this.#now !== undefined && !this.#now.cancelled) this.#moves(this.#now.record);
  }

  /** When this returns the spool is not read any more. */
  async drop(): Promise<void> {
    const now = this.#now;
    this.#now = undefined;
    this.#here = undefined;
    if (now === undefined) return;
    cancel(now);
    await now.work;
  }

  #begin(record: TakenRecord, connection: number, before: Promise<void> | undefined): void {
    this.#stream = (this.#stream + 1) % 2 ** 32;
    const { promise, resolve } = Promise.withResolvers<void>();
    const next: UnderWay = {
      record,
      stream: this.#stream,
      connection,
      work: promise,
      sent: false,
      cancelled: false,
      given_up: Promise.withResolvers(),
    };
    this.#now = next;
    void (async () => {
      await before;
      try {
        await this.#run(next);
      } catch (error) {
        log(this.#shell, `record ${record.header.n} was not sent: ${messageOf(error)}`);
        next.cancelled = true;
      }
      resolve();
    })();
  }

  async #run(now: UnderWay): Promise<void> {
    const { peers } = this.#shell;
    const { record, stream, connection } = now;
    const lives = (): boolean => !now.cancelled && peers.connection("escrow", "bulk") === connection;
    let first = true;
    this.#progress_ms = performance.now();
    for await (const { bytes, last, pages, give } of piecesOf(record, peers.buffers)) {
      await Promise.race([peers.drained("escrow", "bulk", BACKLOG_BYTES), now.given_up.promise]);
      if (!lives()) return;
      const meta = first ? { lineage: "" } : null;
      const piece = encodeRecordPiece({ purpose: "append", stream, meta, last, bytes: [bytes] });
      if (!peers.sendData("escrow", "bulk", piece, give)) return;
      first = false;
      this.#onSent(bytes.length);
      this.#moves(record);
      if (!last && pages > 0) {
        this.#sending(record, pages);
        this.#progress(record, pages);
      }
      await turn();
    }
    now.sent = true;
  }

  /** For whoever watches. */
  #progress({ header: { generation, n } }: TakenRecord, pages_sent: number): void {
    const now_ms = performance.now();
    if (now_ms - this.#progress_ms < PROGRESS_EVERY_MS) return;
    this.#progress_ms = now_ms;
    this.#shell.emit({ kind: "tx.progress", generation, n, pages_sent });
  }

  /** For whoever watches: here is where a link breaks in the middle of a record. */
  #sending(record: TakenRecord, pages_sent: number): void {
    if (this.#half === record || pages_sent * 2 < record.spool.pages) return;
    this.#half = record;
    const { generation, n } = record.header;
    this.#shell.emit({ kind: "tx.sending", generation, n, pages_sent });
  }

  #moves({ header: { generation, n } }: TakenRecord): void {
    const now_ms = performance.now();
    if (now_ms - this.#told_ms < MOVES_EVERY_MS) return;
    this.#told_ms = now_ms;
    this.#shell.tell({ kind: "record-moves", generation, n });
  }
}

function cancel(what: UnderWay): void {
  what.cancelled = true;
  what.given_up.resolve();
}

interface Piece {
  readonly bytes: Buffer;
  readonly last: boolean;
  /** Of the record, in this piece and those before it, give or take those of its batch. */
  readonly pages: number;
  /** To be called when nobody looks at the bytes any more. */
  readonly give?: () => void;
}

/**
 * A record in pieces of at most 256 KiB and their heads, read from its spool as they are asked for.
 * @param lender where its pages are read into
 */
async function* piecesOf(record: TakenRecord, lender: Lender): AsyncGenerator<Piece> {
  const encoder = new RecordEncoder();
  const { generation, n, since, mark, acked } = record.header;
  const head = { last: false, pages: 0 };
  yield { bytes: encoder.header({ generation, n, since, mark, acked }), ...head };
  yield { bytes: encoder.blocks(record.blocks), ...head };
  for (const bytes of encoder.device(record.device_state)) yield { bytes, ...head };
  for (const frame of record.frames) for (const bytes of encoder.frame(frame)) yield { bytes, ...head };
  for (const bytes of encoder.framesDone()) yield { bytes, ...head };
  let pages = 0;
  let chunk: Buffer = Buffer.alloc(0);
  const into = (entries: Buffer): Buffer => {
    const next = encoder.pagesChunk(entries, (bytes) => lender.take(bytes));
    chunk = next.chunk;
    return next.content;
  };
  for await (const { entries } of readSpool(record.spool, BATCH_PAGES, into)) {
    pages += entries.length / ENTRY_BYTES;
    const bytes = encoder.pagesFilled(chunk);
    yield { bytes, last: false, pages, give: () => lender.give(bytes) };
  }
  for (const piece of partPieces(record.parts)) yield { bytes: encoder.part(piece), last: false, pages };
  yield { bytes: encoder.end(record), last: true, pages };
}
