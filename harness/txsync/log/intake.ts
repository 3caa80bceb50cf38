import { PAGE_BYTES } from "../../base/page.ts";
import type { FrameNumber, TransactionNumber } from "../core/index.ts";
import { ZERO_HALF_CRC } from "./crc.ts";
import { blockSeed, DigestSum, lane1Of, lane2Of } from "./digest.ts";
import { INDEX_CHUNK_PAGES, type PageIndex } from "./page-index.ts";
import { PageList } from "./page-list.ts";
import {
  PAGE_ENTRY_BYTES,
  type RecordBlock,
  RecordError,
  type RecordHead,
  RecordViolation,
  ZERO_FLAG,
} from "./record.ts";
import { type ParsedPages, type RecordEnd, type RecordEvent, RecordParser } from "./record-parser.ts";

/** A stretch of a record or of a file. */
export interface Place {
  readonly offset: number;
  readonly length: number;
}

export interface FramePlace extends Place {
  readonly number: FrameNumber;
  readonly channel: number;
}

/** A piece of a part: where its bytes lie. */
export interface PartPlace extends Place {
  readonly name: string;
  readonly n: TransactionNumber;
  readonly floor: number;
}

/** The last record of a log, as far as the next one is measured by it. */
export type Before = RecordHead & { readonly crc: number };

/**
 * A record on its way into a log: what it holds and where, without the contents, and what the modified set would be
 * with it. Nothing of the index changes until it is applied; places are counted from the record's first byte.
 */
export class RecordIntake {
  readonly #parser = new RecordParser();
  readonly #index: PageIndex;
  readonly pages = new PageList({ lanes: true });
  readonly device: Place[] = [];
  readonly frames: FramePlace[] = [];
  readonly parts: PartPlace[] = [];
  #head: RecordHead | null = null;
  #blocks: readonly RecordBlock[] = [];
  /** Numbers of the record's blocks in the index, -1 where it does not know them, and their seeds. */
  #numbers: number[] = [];
  #seeds: number[] = [];
  #sum = new DigestSum();
  /** Pages of the record that the index has. */
  #known = 0;
  #end: RecordEnd | null = null;

  constructor(index: PageIndex) {
    this.#index = index;
  }

  get head(): RecordHead | null {
    return this.#head;
  }

  get blocks(): readonly RecordBlock[] {
    return this.#blocks;
  }

  get end(): RecordEnd | null {
    return this.#end;
  }

  /** Bytes of the record so far. */
  get length(): number {
    return this.#parser.length;
  }

  /** @throws RecordError when these are not the record's next bytes. */
  push(bytes: Uint8Array): void {
    for (const event of this.#parser.push(bytes)) this.#take(event);
  }

  /** For a stream of records; `used` says where the next one begins. */
  feed(bytes: Uint8Array): { readonly events: readonly RecordEvent[]; readonly used: number } {
    const fed = this.#parser.feed(bytes);
    for (const event of fed.events) this.#take(event);
    return fed;
  }

  /** Head and end. @throws RecordError unless the record is whole. */
  finish(): { readonly head: RecordHead; readonly end: RecordEnd } {
    this.#parser.finish();
    if (this.#head === null || this.#end === null) throw new RecordError("it is cut off", this.length);
    return { head: this.#head, end: this.#end };
  }

  /** Why this record must not be believed after the one before it, or `null`. It has to be whole. */
  violation(before: Before | null): RecordViolation | null {
    const { head, end } = this.finish();
    const at = (rule: RecordViolation["rule"], what: string) => new RecordViolation(rule, `record ${head.n}: ${what}`);
    // 0 stands for "no record" in the index, which has 32 bits for it.
    if (head.n < 1 || head.n >= 2 ** 32) return at("number", "no such number");
    if (head.acked > head.mark)
      return at("acked", `frame ${head.acked} has arrived and only ${head.mark} were put out`);
    if (before === null) {
      if (head.since !== "base") return at("since", `it goes on from ${head.since}, and the log is empty`);
    } else {
      if (head.n <= before.n) return at("number", `the log has record ${before.n}`);
      if (head.generation < before.generation)
        return at("generation", `generation ${head.generation} after ${before.generation}`);
      if (head.since !== "base" && head.since !== before.n)
        return at("since", `it goes on from ${head.since}, and the log's last is ${before.n}`);
      if (head.mark < before.mark) return at("marks", `its mark goes back from ${before.mark} to ${head.mark}`);
    }
    for (const [i, { name, bytes }] of this.#blocks.entries()) {
      const known = this.#index.blocks[this.#numbers[i] ?? -1];
      if (known !== undefined && known.bytes !== bytes)
        return at("blocks", `block ${name} has ${bytes} bytes and had ${known.bytes}`);
    }
    const lacks = head.since === "base" ? this.#index.pages - this.#known : 0;
    if (lacks > 0) return at("lacks-pages", `since the base, and it lacks ${lacks} pages that the log has`);
    const { pages, hex } = this.#sum;
    if (pages !== end.modified_pages || hex !== end.digest)
      return at(
        "digest",
        `the modified set is ${pages} pages of ${hex}, it says ${end.modified_pages} of ${end.digest}`,
      );
    return null;
  }

  /** Block number in the index for each of the record's blocks; those it does not know yet are added. */
  numbersIn(index: PageIndex): number[] {
    return this.#blocks.map(({ name, bytes }) => {
      const known = index.blockNumber(name);
      return known >= 0 ? known : index.addBlock(name, bytes);
    });
  }

  #take(event: RecordEvent): void {
    switch (event.kind) {
      case "header":
        this.#head = event.head;
        if (event.head.since !== "base") this.#sum = this.#index.sum;
        return;
      case "blocks":
        this.#blocks = event.blocks;
        this.#numbers = event.blocks.map(({ name }) => this.#index.blockNumber(name));
        this.#seeds = event.blocks.map(({ name }) => blockSeed(name));
        return;
      case "device":
        this.device.push({ offset: event.at, length: event.bytes.length });
        return;
      case "frames":
        for (const { number, channel, at, bytes } of event.frames)
          this.frames.push({ number, channel, offset: at, length: bytes.length });
        return;
      case "pages":
        this.#takePages(event);
        return;
      case "part":
        this.parts.push({
          name: event.name,
          n: event.n,
          floor: event.floor,
          offset: event.bytes_at,
          length: event.bytes.length,
        });
        return;
      case "end":
        this.#end = event.end;
        return;
    }
  }

  #takePages({ count, entries, content_at, half_crcs }: ParsedPages): void {
    const anew = this.#head?.since === "base";
    let full = 0;
    for (let i = 0; i < count; i += 1) {
      const word = entries.readUInt32BE(i * PAGE_ENTRY_BYTES);
      const page = entries.readUInt32BE(i * PAGE_ENTRY_BYTES + 4);
      const block = word & ~ZERO_FLAG;
      const zero = (word & ZERO_FLAG) !== 0;
      const seed = this.#seeds[block] as number;
      const lane1 = lane1Of(seed, page, zero ? ZERO_HALF_CRC : (half_crcs[2 * full] as number));
      const lane2 = lane2Of(seed, page, zero ? ZERO_HALF_CRC : (half_crcs[2 * full + 1] as number), lane1);
      this.pages.add(block, page, zero ? -1 : content_at + full * PAGE_BYTES, lane1, lane2);
      if (!zero) full += 1;
      const chunk = this.#index.chunk(this.#numbers[block] as number, page);
      const at = page & (INDEX_CHUNK_PAGES - 1);
      if (chunk !== undefined && chunk.n[at] !== 0) {
        this.#known += 1;
        if (!anew) this.#sum.remove(chunk.lane1[at] as number, chunk.lane2[at] as number);
      }
      this.#sum.add(lane1, lane2);
    }
  }
}
