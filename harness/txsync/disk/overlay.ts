import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PIECE_BYTES } from "./backend.ts";
import { Extents } from "./extents.ts";
import { Segment } from "./segment.ts";

/** A change of a disk, as a record carries it and as it is applied. `bytes` absent: the range is zero. */
export interface DiskChange {
  readonly offset: number;
  readonly length: number;
  readonly bytes?: Buffer;
}

interface Marked {
  readonly mark: number;
  readonly segment: Segment;
}

/** `000017.open`, and `000017.42` once transaction 42 covers it. */
const NAME = /^(\d{6,})\.(open|\d+)$/;

/**
 * What was written to a disk and is not in its image: what is open, and in order what each transaction covers. On the
 * host's tmpfs, so an agent that was killed finds it again.
 */
export class Overlay {
  readonly #folder: string;
  #open: Segment | undefined;
  #marked: Marked[] = [];
  #next = 1;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const { file, number, state } of segmentsIn(folder)) {
      const segment = Segment.resume(join(folder, file));
      if (state === "open") this.#open = segment;
      else this.#marked.push({ mark: Number(state), segment });
      this.#next = number + 1;
    }
  }

  /** Bytes on the tmpfs. */
  get bytes(): number {
    return this.#marked.reduce((sum, { segment }) => sum + segment.bytes, this.#open?.bytes ?? 0);
  }

  get empty(): boolean {
    return this.#open === undefined && this.#marked.length === 0;
  }

  /** The last mark behind which something is kept, or 0. */
  get last_mark(): number {
    return this.#marked.at(-1)?.mark ?? 0;
  }

  write(offset: number, bytes: Buffer): void {
    this.#toWrite().write(offset, bytes);
  }

  zero(offset: number, length: number): void {
    this.#toWrite().zero(offset, length);
  }

  /** Fills in what is here of a range that begins at `offset`. @returns the parts that are not, for the image to give */
  readInto(offset: number, into: Buffer): readonly { readonly offset: number; readonly length: number }[] {
    let missing: readonly { readonly offset: number; readonly length: number }[] = [{ offset, length: into.length }];
    for (const segment of this.#newestFirst()) {
      if (missing.length === 0) break;
      missing = missing.flatMap((part) =>
        segment.walk(part.offset, part.length).filter(({ offset: at, length, place }) => {
          if (place !== undefined) segment.readInto(place, into, at - offset, length);
          return place === undefined;
        }),
      );
    }
    return missing;
  }

  /**
   * What was written since the last mark belongs to transaction n. What belongs to a higher one does too: that one came to
   * nothing, and n is taken in its place.
   */
  mark(n: number): void {
    // One name for one file: after a crash it has the one mark or the other. In their order, so that marks never fall.
    const later = this.#marked.filter(({ mark }) => mark > n).map(({ segment }) => segment);
    if (this.#open !== undefined) later.push(this.#open);
    for (const segment of later) segment.rename(segment.path.replace(/[^.]*$/, String(n)));
    this.#open = undefined;
    this.#marked = [...this.#marked.filter(({ mark }) => mark <= n), ...later.map((segment) => ({ mark: n, segment }))];
  }

  /** The first transaction up to n whose writes are here. */
  first(upto: number): number | undefined {
    const mark = this.#marked[0]?.mark;
    return mark === undefined || mark > upto ? undefined : mark;
  }

  /** The writes of the transactions behind `after` up to `upto`, each byte once, as it was last; in bounded pieces. */
  *changes(after: number, upto: number): Generator<DiskChange> {
    yield* changesIn(this.#marked.filter(({ mark }) => mark > after && mark <= upto).map(({ segment }) => segment));
  }

  /**
   * The same for whoever looks from outside, by transaction and in their order; read as it is asked for. A segment that is
   * dropped meanwhile is in the image.
   */
  static *changes(
    folder: string,
    after: number,
    upto: number,
  ): Generator<{ readonly n: number; readonly change: DiskChange }, undefined> {
    for (const { file, state } of segmentsIn(folder)) {
      const n = Number(state);
      if (state === "open" || n <= after || n > upto) continue;
      let segment: Segment;
      try {
        segment = Segment.look(join(folder, file));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
        throw error;
      }
      try {
        for (const change of changesIn([segment])) yield { n, change };
      } finally {
        segment.close();
      }
    }
    return undefined;
  }

  /** The writes up to n are in the image, and kept there. */
  drop(upto: number): void {
    for (const { segment } of this.#marked.filter(({ mark }) => mark <= upto)) this.#remove(segment);
    this.#marked = this.#marked.filter(({ mark }) => mark > upto);
  }

  /** What transaction n does not have is as if it had never been written. */
  rollBack(n: number): void {
    if (this.#open !== undefined) this.#remove(this.#open);
    this.#open = undefined;
    // From the last one on: after a crash in the middle what is left is still a beginning.
    for (const { segment } of this.#marked.filter(({ mark }) => mark > n).reverse()) this.#remove(segment);
    this.#marked = this.#marked.filter(({ mark }) => mark <= n);
  }

  close(): void {
    for (const segment of this.#newestFirst()) segment.close();
    this.#open = undefined;
    this.#marked = [];
  }

  #toWrite(): Segment {
    this.#open ??= Segment.create(join(this.#folder, `${String(this.#next++).padStart(6, "0")}.open`));
    return this.#open;
  }

  *#newestFirst(): Generator<Segment> {
    if (this.#open !== undefined) yield this.#open;
    for (const { segment } of this.#marked.toReversed()) yield segment;
  }

  #remove(segment: Segment): void {
    rmSync(segment.path, { force: true });
    segment.close();
  }
}

/** What these have, each byte once, as it was last; in bounded pieces. */
export function* changesIn(segments: readonly Segment[]): Generator<DiskChange> {
  const merged = new Extents<{ readonly segment: Segment; readonly place: number }>(({ segment, place }, by) => ({
    segment,
    place: segment.isZero(place) ? place : place + by,
  }));
  for (const segment of segments)
    for (const { offset, length, place } of segment) merged.put(offset, length, { segment, place });
  for (const { offset, length, place } of merged) {
    if (place.segment.isZero(place.place)) {
      yield { offset, length };
      continue;
    }
    for (let done = 0; done < length; done += PIECE_BYTES) {
      const bytes = Buffer.allocUnsafe(Math.min(PIECE_BYTES, length - done));
      place.segment.readInto(place.place + done, bytes, 0, bytes.length);
      yield { offset: offset + done, length: bytes.length, bytes };
    }
  }
}

function segmentsIn(folder: string): { readonly file: string; readonly number: number; readonly state: string }[] {
  return readdirSync(folder)
    .flatMap((file) => {
      const [, number, state] = NAME.exec(file) ?? [];
      return number === undefined || state === undefined ? [] : [{ file, number: Number(number), state }];
    })
    .sort((a, b) => a.number - b.number);
}
