import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import type { FrameNumber, RecordHeader } from "../core/index.ts";
import {
  type ModifiedSet,
  neededParts,
  type OutputFrame,
  type PartPiece,
  partOf,
  type RecordEvent,
  RecordParser,
} from "../log/index.ts";
import { encodeNote } from "../pages/notes.ts";
import type { RecordPiece } from "../pages/record-frames.ts";
import type { DataShell } from "./data-shell.ts";
import type { RamImage } from "./ram-image.ts";

/** In a page's entry: it is all zeros (log/record.ts). */
const ZERO_FLAG = 0x8000_0000;
/** A device state is never so long (log/record.ts bounds it likewise). */
const DEVICE_BYTES_MAX = 256 * 2 ** 20;
/** Nor is what an answer has of parts: they let go of what is elsewhere (`floor`), and each has room for some ten MiB of a disk. */
const PART_BYTES_MAX = 2 ** 30;

/** The log's last transaction, as it was laid over. */
export interface LaidOver extends ModifiedSet {
  readonly header: RecordHeader;
  readonly device_state: Buffer;
  readonly frames: readonly OutputFrame[];
  /** Of all answers together. */
  readonly parts: readonly PartPiece[];
  readonly mark: FrameNumber;
  readonly acked: FrameNumber;
  /** Pages that this answer brought. */
  readonly pages: number;
}

interface Answer {
  readonly question: number;
  readonly since: { readonly lineage: string; readonly n: number } | null;
  heard_ms: number;
  pages: number;
  lineage: string;
  parser: RecordParser | undefined;
  readonly device: Buffer[];
  device_bytes: number;
  part_bytes: number;
  readonly frames: OutputFrame[];
  readonly parts: PartPiece[];
  header: RecordHeader | undefined;
  names: readonly string[];
  end: ModifiedSet | undefined;
  failed: string | undefined;
  done: boolean;
}

/** The escrow says nothing any more. */
export class EscrowSilentError extends UserError {}

/** How far the image is, and in which log. */
export interface Reached {
  readonly lineage: string;
  readonly n: number;
}

/**
 * Lays what the escrow's log has over a memory image, as it comes: only what the image does not have yet, or all that
 * differs from the base. One question at a time; a question or its answer may be lost with a connection, or with the
 * escrow's agent, so after a silence it is asked anew.
 */
export class LogReader {
  readonly #shell: DataShell;
  readonly #image: RamImage;
  readonly #base: string | undefined;
  #reached: Reached | null = null;
  #answer: Answer | undefined;
  #question = 0;
  #abandoned = false;
  /** Pieces of parts that were read up to what was reached, and are still needed. */
  #parts: readonly PartPiece[] = [];

  /** @param base what the image is: of another one nothing is laid over it */
  constructor(shell: DataShell, image: RamImage, base?: string) {
    this.#shell = shell;
    this.#base = base;
    this.#image = image;
    this.#question = Math.floor(Math.random() * 2 ** 31);
  }

  get reached(): Reached | null {
    return this.#reached;
  }

  /** Whether the image holds what its log's last record said it should. */
  #proves({ digest, modified_pages }: ModifiedSet): boolean {
    const got = this.#image.modified;
    return got.modified_pages === modified_pages && got.digest === digest && this.#image.strays === 0;
  }

  /**
   * Asks for the last transaction (`n`: no other one will do) and lays it over. With a digest that is not the record's,
   * everything since the base is laid over once more before it is given up.
   * @throws UserError when the escrow refuses, or the memory is not what the record says; WaitTimeoutError after a
   * silence of `most_silent_ms`: there is no other bound, what moves may take its time.
   */
  async layOver(n: number | null, most_silent_ms: number): Promise<LaidOver> {
    const first = await this.#ask(n, this.#reached, most_silent_ms);
    if (this.#proves(first)) return first;
    const text = this.#contradiction(first);
    this.#shell.emit({ kind: "violation", why: `${text}: everything since the base is laid over again` });
    const again = await this.#ask(n, null, most_silent_ms);
    if (this.#proves(again)) return again;
    throw new UserError(`${this.#contradiction(again)}; twice: it must not run`);
  }

  #contradiction({ header, digest, modified_pages }: LaidOver): string {
    const got = this.#image.modified;
    const { strays } = this.#image;
    return (
      `the memory made of transaction ${header.n} gives ${got.digest} over ${got.modified_pages} pages, its record ` +
      `says ${digest} over ${modified_pages}${strays === 0 ? "" : `; ${strays} pages were laid over that it does not have`}`
    );
  }

  abandon(): void {
    this.#abandoned = true;
    this.#answer = undefined;
  }

  async #ask(n: number | null, since: Reached | null, most_silent_ms: number): Promise<LaidOver> {
    const { lease_ms } = this.#shell.config;
    let patience_ms = lease_ms;
    let connection = this.#shell.peers.connection("escrow", "urgent");
    let silent_since_ms = performance.now();
    this.#wanted(n, since);
    const answer = await waitFor(
      { what: `transaction ${n ?? "of any number"} from the escrow`, timeout_ms: 24 * 3_600_000, interval_ms: 1 },
      () => {
        if (this.#abandoned) throw new UserError("it is not wanted any more");
        const now = this.#answer;
        if (now === undefined) throw new UserError("it is not wanted any more");
        if (now.failed !== undefined) throw new UserError(now.failed);
        if (now.done) return now;
        silent_since_ms = Math.max(silent_since_ms, now.heard_ms);
        const now_ms = performance.now();
        if (now_ms - silent_since_ms > most_silent_ms)
          throw new EscrowSilentError(`the escrow said nothing more of its log for ${Math.round(most_silent_ms)} ms`);
        const there = this.#shell.peers.connection("escrow", "urgent");
        if (now_ms - now.heard_ms <= patience_ms && there === connection) return undefined;
        // A large log takes long to read before its first part leaves: more patience each time.
        patience_ms = Math.min(patience_ms * 2, most_silent_ms);
        connection = there;
        this.#wanted(n, since);
        return undefined;
      },
    );
    this.#answer = undefined;
    const { header, end, lineage } = answer;
    if (header === undefined || end === undefined) throw new UserError("a record without an end");
    this.#reached = { lineage, n: header.n };
    this.#parts = neededParts(header.since === "base" ? answer.parts : [...this.#parts, ...answer.parts]);
    return {
      header,
      device_state: Buffer.concat(answer.device),
      frames: answer.frames,
      parts: this.#parts,
      mark: header.mark,
      acked: header.acked,
      pages: answer.pages,
      ...end,
    };
  }

  #wanted(n: number | null, since: Reached | null): void {
    this.#question = (this.#question + 1) % 2 ** 32;
    const question = this.#question;
    this.#answer = {
      question,
      since,
      heard_ms: performance.now(),
      pages: 0,
      lineage: "",
      parser: undefined,
      device: [],
      device_bytes: 0,
      part_bytes: 0,
      frames: [],
      parts: [],
      header: undefined,
      names: [],
      end: undefined,
      failed: undefined,
      done: false,
    };
    const base = this.#base === undefined ? {} : { base: this.#base };
    this.#shell.peers.sendData("escrow", "urgent", encodeNote({ kind: "log-wanted", question, n, since, ...base }));
  }

  refused(question: number, why: string): void {
    if (this.#answer?.question === question) this.#answer.failed = why;
  }

  pieceCame(piece: RecordPiece): void {
    const answer = this.#answer;
    if (answer === undefined || answer.question !== piece.stream || answer.done || answer.failed !== undefined) return;
    answer.heard_ms = performance.now();
    try {
      if (piece.meta !== null) {
        answer.lineage = piece.meta.lineage;
        answer.parser = new RecordParser();
      }
      for (const event of answer.parser?.push(piece.bytes) ?? []) this.#take(answer, event);
      this.#image.flush();
      if (!piece.last) return;
      answer.parser?.finish();
      answer.done = true;
    } catch (error) {
      answer.failed = `what the escrow sent of its log is of no use: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  #take(answer: Answer, event: RecordEvent): void {
    switch (event.kind) {
      case "header": {
        const { generation, n, since, mark, acked } = event.head;
        answer.header = { generation, n, since, mark, acked };
        if (since === "base") this.#image.beginAnew();
        else if (answer.since === null || since !== answer.since.n || answer.lineage !== answer.since.lineage)
          throw new UserError(`it goes on from ${since}, which is not here`);
        return;
      }
      case "blocks":
        answer.names = event.blocks.map(({ name }) => name);
        return;
      case "device":
        answer.device_bytes += event.bytes.length;
        if (answer.device_bytes > DEVICE_BYTES_MAX) throw new UserError("its device state is too long");
        answer.device.push(Buffer.from(event.bytes));
        return;
      case "frames":
        for (const { number, channel, bytes } of event.frames)
          answer.frames.push({ number, channel, bytes: Buffer.from(bytes) });
        return;
      case "pages":
        answer.pages += event.count;
        layPages(this.#image, answer.names, event);
        return;
      case "part":
        answer.part_bytes += event.bytes.length;
        if (answer.part_bytes > PART_BYTES_MAX) throw new UserError("the parts of its state are too long");
        answer.parts.push(partOf(event));
        return;
      case "end":
        answer.end = { digest: event.end.digest, modified_pages: event.end.modified_pages };
        return;
    }
  }
}

/** Pages of a record over a memory, and written when this returns: their content is a view of what was received. */
export function layPages(
  image: RamImage,
  names: readonly string[],
  { count, entries, content }: Extract<RecordEvent, { kind: "pages" }>,
): void {
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const word = entries.readUInt32BE(i * 8);
    const page = entries.readUInt32BE(i * 8 + 4);
    const zero = (word & ZERO_FLAG) !== 0;
    const bytes = zero ? null : content.subarray(at, at + PAGE_BYTES);
    image.put({ block: names[word & ~ZERO_FLAG] ?? "", page, bytes });
    if (!zero) at += PAGE_BYTES;
  }
  image.flush();
}
