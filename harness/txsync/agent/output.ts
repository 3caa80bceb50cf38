import { messageOf } from "../../base/errors.ts";
import type { FrameNumber } from "../core/index.ts";
import type { OutputSource } from "../device/output-source.ts";
import type { OutputFrame } from "../log/index.ts";
import type { StillOutputs } from "../transaction/take.ts";
import { isStorageTrouble, WriteAgain } from "./storage-trouble.ts";
import { TwoPlaces, type WriteAt } from "./two-places.ts";

const HEAD_BYTES = 21;
const LOG_BYTES_MAX = 8 * 2 ** 20;
/** inotify tells of output at once; this is for what it might miss. */
const LOOK_EVERY_MS = 20;
const GATHER_MS = 1;
/** So much that waits to be let out is said, and again whenever it is twice as much. */
const MUCH_BYTES = 64 * 2 ** 20;
/** So much, and a source that may lose something loses it. */
const FULL_BYTES = 128 * 2 ** 20;
/** What a frame takes beside its bytes, as it lies here and on its way out: of short ones there are more than of bytes. */
export const FRAME_BYTES = 256;
const weightOf = ({ bytes }: Pick<OutputFrame, "bytes">): number => bytes.length + FRAME_BYTES;
const NAME = "frames";
/** So much finds room where the host's memory is full by now: what waits of a guest that talks as a console does. */
const RESERVE_BYTES = 256 * 1024;
/** While nothing can be stored no more than about this is taken from a line: the rest stays where QEMU puts it. */
const UNSTORED_BYTES_MAX = 2 ** 20;

export interface OutputOptions {
  /**
   * So much is kept because nobody has taken it: nothing of it can be left out, so it is said, before the host's tmpfs is
   * full.
   */
  readonly onMuch?: (kept_bytes: number) => void;
  /** What the VM puts out cannot be stored (why), or can be again: said once each time. */
  readonly onTrouble?: (why: string | undefined) => void;
  readonly write?: WriteAt;
}

/**
 * What the VM has put out, as numbered frames on the host's tmpfs: stored before anything is said of them, found again
 * by a restarted agent. Where it comes from is the sources' matter (device/output-source.ts).
 *
 *     log: (u64 number, u8 channel, u32 length, u64 how far its source was read with it, bytes)*
 *
 * Where it cannot be stored it is told to nobody, and no transaction is taken of a VM that has put it out (`still`); it is
 * tried again until it is.
 */
export class OutputStore {
  readonly #places: TwoPlaces;
  readonly #onOutput: (upTo: FrameNumber) => void;
  /** Of the log: what came since it was last written, and was told to nobody. */
  #unwritten: Uint8Array[] = [];
  #unwritten_bytes = 0;
  /** The last frame that is on the tmpfs. */
  #stored = 0;
  readonly #onTrouble: (why: string | undefined) => void;
  #trouble: { readonly again: WriteAgain; next_ms: number } | undefined;
  /** The log is made shorter once it is longer than this. */
  #shorten_bytes = LOG_BYTES_MAX;
  #frames = new Map<number, OutputFrame>();
  readonly #born_ms = new Map<number, number>();
  #produced = 0;
  /** The last frame that was told of. */
  #told = 0;
  #acked = 0;
  /** How far each source was read, by channel. */
  #ends = new Map<number, number>();
  readonly #sources: readonly OutputSource[];
  #soon: NodeJS.Timeout | undefined;
  readonly #timer: NodeJS.Timeout;
  #kept_bytes = 0;
  #released = 0;
  #waiting_bytes = 0;
  /** Channels whose frames need not be kept for somebody who does not take them. */
  readonly #may_lose: ReadonlySet<number>;
  #much_bytes = MUCH_BYTES;
  readonly #onMuch: (kept_bytes: number) => void;

  constructor(
    folder: string,
    sources: readonly OutputSource[],
    onOutput: (upTo: FrameNumber) => void,
    { onMuch = () => undefined, onTrouble = () => undefined, write }: OutputOptions = {},
  ) {
    this.#onMuch = onMuch;
    this.#onTrouble = onTrouble;
    this.#sources = sources;
    this.#may_lose = new Set(sources.filter(({ may_lose }) => may_lose === true).map(({ channel }) => channel));
    this.#places = new TwoPlaces(folder, NAME, RESERVE_BYTES, write);
    this.#onOutput = onOutput;
    const found = this.#places.load();
    for (const bytes of found === undefined ? [] : [found.content, ...found.pieces]) this.#load(bytes);
    this.#stored = this.#produced;
    this.#told = this.#produced;
    // What is not kept was taken, in another life: it is not looked for among all numbers that there ever were.
    this.#acked = this.#firstKept() - 1;
    this.#released = this.#acked;
    this.#kept_bytes = this.#sum();
    this.#waiting_bytes = this.#kept_bytes;
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  /** The last frame that there is: stored, so that it has its number for ever. */
  get produced(): FrameNumber {
    return this.#stored as FrameNumber;
  }

  /**
   * How much of the VM's output waits here, and would only be more: behind the gate, all of it; let out, and taken by
   * nobody, that of lines which lose nothing.
   */
  get waiting_bytes(): number {
    return this.#waiting_bytes;
  }

  /** The gate has let these go: it is not what they wait for any more. */
  released(upTo: number): void {
    for (let number = this.#released + 1; number <= upTo; number += 1) {
      const frame = this.#frames.get(number);
      if (frame !== undefined && this.#may_lose.has(frame.channel)) this.#waiting_bytes -= weightOf(frame);
    }
    this.#released = Math.max(this.#released, upTo);
  }

  /** How long the frame has been waiting here; 0 for one that came from elsewhere. */
  age_ms(number: number): number {
    const born_ms = this.#born_ms.get(number);
    return born_ms === undefined ? 0 : performance.now() - born_ms;
  }

  /** Frames from..to, both included, as far as they are kept. */
  frames(from: number, to: number): OutputFrame[] {
    const found: OutputFrame[] = [];
    for (let number = from; number <= to; number += 1) {
      const frame = this.#frames.get(number);
      if (frame !== undefined) found.push(frame);
    }
    return found;
  }

  /** The receiving edge has everything up to here: it need not be kept. */
  acked(upTo: number): void {
    for (let number = this.#acked + 1; number <= upTo; number += 1) {
      const frame = this.#frames.get(number);
      const bytes = frame === undefined ? 0 : weightOf(frame);
      this.#kept_bytes -= bytes;
      if (frame !== undefined && (number > this.#released || !this.#may_lose.has(frame.channel)))
        this.#waiting_bytes -= bytes;
      this.#frames.delete(number);
      this.#born_ms.delete(number);
    }
    this.#acked = Math.max(this.#acked, upTo);
    this.#released = Math.max(this.#released, upTo);
    if (this.#kept_bytes < MUCH_BYTES / 2) this.#much_bytes = MUCH_BYTES;
    if (this.#places.added_bytes > this.#shorten_bytes) this.#shorten();
  }

  /**
   * Another VM begins here, at this mark, with these frames that may still have to be let out.
   * @throws what the file system does; then all is as it was, but that nothing is followed
   */
  reset(mark: number, acked: number, frames: readonly OutputFrame[]): void {
    this.unfollow();
    this.#replace(frames, mark, new Map());
    this.#frames = new Map(frames.map((frame) => [frame.number, frame]));
    this.#born_ms.clear();
    this.#kept_bytes = this.#sum();
    this.#waiting_bytes = this.#kept_bytes;
    this.#produced = mark;
    this.#acked = acked;
    this.#released = acked;
    this.#told = mark;
    this.#ends = new Map();
    this.#allStored();
  }

  /** Takes up what a QEMU puts out from now on; where it was read before, from there. */
  follow(folder: string): void {
    this.unfollow();
    for (const source of this.#sources) {
      const { channel } = source;
      source.follow(folder, this.#ends.get(channel) ?? 0, {
        put: (bytes, end) => this.#put(channel, bytes, end),
        soon: () => this.#lookSoon(),
        room: () => this.#kept_bytes < FULL_BYTES && this.#unwritten_bytes < UNSTORED_BYTES_MAX,
      });
    }
    this.look();
  }

  /** As `follow`, but what was put out before is somebody else's. @throws what the file system does; then nothing is followed */
  followFromNow(folder: string): void {
    const ends = new Map(this.#sources.map((source) => [source.channel, source.endIn(folder)]));
    this.#replace([...this.#frames.values()], this.#produced, ends);
    this.#ends = ends;
    this.#allStored();
    this.follow(folder);
  }

  /** A guest writes byte by byte: what comes together makes one frame. */
  #lookSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.look();
    }, GATHER_MS);
  }

  unfollow(): void {
    for (const source of this.#sources) source.unfollow();
  }

  /** For whoever takes a transaction: the outputs, where something of them may be on its way from QEMU to here. */
  get toDrain(): { readonly outputs?: StillOutputs } {
    const draining = this.#sources.filter((source) => source.drains === true);
    if (draining.length === 0) return {};
    return {
      outputs: {
        stopping: () => {
          for (const source of draining) source.stopping?.();
        },
        settle: () => this.settle(),
        get lagged() {
          return draining.some((source) => source.lagged === true);
        },
        drain: (roundTrip) => this.drain(roundTrip),
        count: () => this.#produced,
      },
    };
  }

  /** The VM stands still: when this settles all that it has put out is here. @param roundTrip of QEMU's main loop */
  async drain(roundTrip: () => Promise<unknown>): Promise<FrameNumber> {
    for (const source of this.#sources) {
      if (source.drains !== true) continue;
      await source.settle?.();
      // QEMU sends what it had no room for, and takes more out of the guest's ring, once there is room again.
      await roundTrip();
      await source.settle?.();
    }
    return this.still();
  }

  /** What QEMU had put out is here when this settles, unless it had no room for it. @throws as `still` */
  async settle(): Promise<FrameNumber> {
    for (const source of this.#sources) if (source.drains === true) await source.settle?.();
    return this.still();
  }

  /**
   * The VM stands still: everything that it has put out. @returns the last frame there is
   * @throws Error where something of it is not stored: a later life of this agent would give its number to other bytes
   */
  still(): FrameNumber {
    this.#look(true);
    if (this.#stored < this.#produced) throw new Error("what the VM has put out cannot be stored here");
    return this.produced;
  }

  /** Hands over what is new. @returns the last frame there is */
  look(): FrameNumber {
    this.#look(false);
    return this.produced;
  }

  /** @param at_once what could not be stored is tried again now */
  #look(at_once: boolean): void {
    for (let full = true; full; ) {
      full = this.#unwritten_bytes >= UNSTORED_BYTES_MAX;
      if (!full) for (const source of this.#sources) source.look();
      this.#write(at_once);
      // There is room again, and what was left where QEMU puts it comes too.
      full &&= this.#unwritten_bytes === 0;
    }
    if (this.#stored <= this.#told) return;
    this.#told = this.#stored;
    this.#onOutput(this.produced);
  }

  #put(channel: number, bytes: Uint8Array, end: number): void {
    this.#ends.set(channel, end);
    this.#produced += 1;
    const frame = { number: this.#produced as FrameNumber, channel, bytes };
    this.#frames.set(frame.number, frame);
    this.#born_ms.set(frame.number, performance.now());
    this.#append(frame);
    this.#keep(weightOf(frame));
  }

  #keep(bytes: number): void {
    this.#kept_bytes += bytes;
    this.#waiting_bytes += bytes;
    if (this.#kept_bytes < this.#much_bytes) return;
    this.#much_bytes *= 2;
    this.#onMuch(this.#kept_bytes);
  }

  #firstKept(): number {
    let first = this.#produced + 1;
    for (const number of this.#frames.keys()) first = Math.min(first, number);
    return first;
  }

  #sum(): number {
    let bytes = 0;
    for (const frame of this.#frames.values()) bytes += weightOf(frame);
    return bytes;
  }

  #append(frame: OutputFrame): void {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeBigUInt64BE(BigInt(frame.number), 0);
    head.writeUInt8(frame.channel, 8);
    head.writeUInt32BE(frame.bytes.length, 9);
    head.writeBigUInt64BE(BigInt(this.#ends.get(frame.channel) ?? 0), 13);
    this.#unwritten.push(head, frame.bytes);
    this.#unwritten_bytes += head.length + frame.bytes.length;
  }

  /** What came together is put down together, before anything is said of it: a network's frames come by the hundred. */
  #write(at_once: boolean): void {
    if (this.#unwritten.length === 0) return;
    if (this.#trouble !== undefined && !at_once && performance.now() < this.#trouble.next_ms) return;
    this.#unwritten = [Buffer.concat(this.#unwritten)];
    try {
      for (const bytes of this.#unwritten) this.#places.add(bytes);
      this.#allStored();
    } catch (error) {
      // What nobody needs any more may be what takes the room.
      if (!isStorageTrouble(error)) throw error;
      if (!this.#shorten()) this.#failed(error);
    }
  }

  #allStored(): void {
    this.#unwritten = [];
    this.#unwritten_bytes = 0;
    this.#stored = this.#produced;
    for (const source of this.#sources) source.stored?.(this.#ends.get(source.channel) ?? 0);
    if (this.#trouble === undefined) return;
    this.#trouble = undefined;
    this.#onTrouble(undefined);
  }

  #failed(error: unknown): void {
    const again = this.#trouble?.again ?? new WriteAgain();
    const is_new = this.#trouble === undefined;
    this.#trouble = { again, next_ms: performance.now() + again.failed() };
    if (is_new) this.#onTrouble(messageOf(error));
  }

  /** A log of what is still needed. @returns false where there is no room for it: the longer one goes on */
  #shorten(): boolean {
    try {
      this.#replace([...this.#frames.values()], this.#produced, this.#ends);
    } catch (error) {
      if (!isStorageTrouble(error)) throw error;
      this.#shorten_bytes = this.#places.added_bytes + LOG_BYTES_MAX / 8;
      return false;
    }
    this.#shorten_bytes = LOG_BYTES_MAX;
    this.#allStored();
    return true;
  }

  /** These frames, and the last one of each channel without its bytes: numbers and ends. */
  #replace(frames: readonly OutputFrame[], produced: number, ends: ReadonlyMap<number, number>): void {
    const pieces: Uint8Array[] = [];
    const entry = (number: number, channel: number, bytes: Uint8Array, end: number): void => {
      const head = Buffer.alloc(HEAD_BYTES);
      head.writeBigUInt64BE(BigInt(number), 0);
      head.writeUInt8(channel, 8);
      head.writeUInt32BE(bytes.length, 9);
      head.writeBigUInt64BE(BigInt(end), 13);
      pieces.push(head, bytes);
    };
    for (const { number, channel, bytes } of frames) entry(number, channel, bytes, 0);
    for (const { channel } of this.#sources) entry(produced, channel, Buffer.alloc(0), ends.get(channel) ?? 0);
    this.#places.replace(Buffer.concat(pieces));
  }

  #load(bytes: Buffer): void {
    for (let at = 0; at + HEAD_BYTES <= bytes.length; ) {
      const number = Number(bytes.readBigUInt64BE(at));
      const channel = bytes.readUInt8(at + 8);
      const length = bytes.readUInt32BE(at + 9);
      const end = Number(bytes.readBigUInt64BE(at + 13));
      if (length > 0) {
        const content = Buffer.from(bytes.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length));
        this.#frames.set(number, { number: number as FrameNumber, channel, bytes: content });
      }
      this.#produced = Math.max(this.#produced, number);
      this.#ends.set(channel, Math.max(this.#ends.get(channel) ?? 0, end));
      at += HEAD_BYTES + length;
    }
  }
}
