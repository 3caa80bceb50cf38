import type { Backend } from "./backend.ts";
import { type DiskChange, Overlay } from "./overlay.ts";

export interface DiskOptions {
  /** The shared image. */
  readonly image: Backend;
  /** Where the overlay is kept, on the host's tmpfs. What an agent left there is found again. */
  readonly folder: string;
  /** As it was when an agent was here last; what is not in the image is kept in any case. */
  readonly mode?: DiskMode;
  /** Writes wait for commits once so much is not in the image, or twice as much: see `hurry`. Bytes. */
  readonly overlay_bytes_max: number;
}

/** In which order a disk's writes reach its image. */
export type DiskMode =
  /** At once: nothing is held back, and a flush is a flush. */
  | "through"
  /** When the transaction that covers them is committed. A flush is answered at once: what it asks for is the commit's. */
  | "kept";

/** A disk of a VM under transactions, as its NBD server serves it. */
export class Disk implements Backend {
  readonly #image: Backend;
  readonly #overlay: Overlay;
  readonly #overlay_bytes_max: number;
  readonly #direct = new Set<Promise<unknown>>();
  #mode: DiskMode;
  /** Everything new waits for it while the mode changes. */
  #changing: Promise<void> | undefined;
  #hurried = false;
  #room: (() => void)[] = [];
  #applying: Promise<unknown> = Promise.resolve();
  /** Commits that are not over: what makes room. */
  #committing = 0;
  #applied = 0;
  #flushes = 0;
  /** Something was written since the last flush. */
  #unflushed = false;

  constructor({ image, folder, mode = "through", overlay_bytes_max }: DiskOptions) {
    this.#image = image;
    this.#overlay = new Overlay(folder);
    this.#overlay_bytes_max = overlay_bytes_max;
    this.#mode = this.#overlay.empty ? mode : "kept";
  }

  get size_bytes(): number {
    return this.#image.size_bytes;
  }

  get mode(): DiskMode {
    return this.#mode;
  }

  /** Flushes that were answered well. */
  get flushes(): number {
    return this.#flushes;
  }

  /** What is not in the image, bytes on the host's tmpfs. */
  get overlay_bytes(): number {
    return this.#overlay.bytes;
  }

  /**
   * The last transaction whose writes are in the image and kept there, as far as is known; 0 is none. What a log has of
   * it and of those before it must not go into the image again: something may have gone there since that is in no log.
   */
  get applied(): number {
    return this.#applied;
  }

  async read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    await this.#settled(signal);
    const into = Buffer.allocUnsafe(length);
    // What is not here now may only come to be by a write that this read does not wait for.
    const missing = this.#overlay.readInto(offset, into);
    await Promise.all(
      missing.map(async (part) => {
        const found = await this.#image.read(part.offset, part.length, signal);
        found.copy(into, part.offset - offset);
      }),
    );
    return into;
  }

  async write(offset: number, bytes: Buffer, signal?: AbortSignal): Promise<void> {
    await this.#toChange(
      signal,
      () => this.#overlay.write(offset, bytes),
      () => this.#image.write(offset, bytes, signal),
    );
  }

  async zero(offset: number, length: number, signal?: AbortSignal): Promise<void> {
    await this.#toChange(
      signal,
      () => this.#overlay.zero(offset, length),
      () => this.#image.zero(offset, length, signal),
    );
  }

  async flush(signal?: AbortSignal): Promise<void> {
    await this.#settled(signal);
    // What is written while it is under way is not in it.
    this.#unflushed = false;
    if (this.#mode === "through") await this.#directly(this.#image.flush(signal));
    this.#flushes++;
  }

  /** From now on writes are kept; when this resolves what went to the image is in it, and no commit is under way. */
  async keep(): Promise<void> {
    await this.#change(async () => {
      while (this.#direct.size > 0) await Promise.allSettled(this.#direct);
      // It reads what may be dropped next, and what it has in hand must not come after what a log puts into the image.
      await this.#applying;
      await this.#image.flush();
      this.#mode = "kept";
    });
  }

  /**
   * Protection has ended, and the VM is this one for good: all that is kept goes into the image, and from then on writes
   * go there at once. What comes meanwhile waits. Where the image fails the disk stays as it is.
   */
  async letThrough(): Promise<void> {
    await this.#change(async () => {
      await this.#applying;
      this.#overlay.mark(Number.MAX_SAFE_INTEGER);
      await this.#apply(Number.MAX_SAFE_INTEGER);
      this.#mode = "through";
    });
  }

  /**
   * While a `stop` is under way there is room for more: it waits for all that is in flight. Where no commit is under way that
   * is all of it: room would come only by the commit of what this `stop` begins.
   */
  hurry(on: boolean): void {
    this.#hurried = on;
    if (on) this.#makeRoom();
  }

  /**
   * What was written since the last mark belongs to transaction n. The VM has to stand still.
   * @throws Error where the last thing that came is no flush: `stop` sends one where anything was written, and tells nobody
   *   that it failed; such a transaction is void
   */
  mark(n: number): void {
    if (this.#mode === "through")
      throw new Error("what the VM writes goes through to the image: no transaction has it");
    if (this.#unflushed) throw new Error("the flush that belongs to a stop has not come");
    // Nothing of an earlier transaction waits: the image has all of them, and what went through between them.
    // And an agent that came up again, or has another escrow, may count from lower on: of n and later ones it has nothing.
    this.#applied = this.#overlay.last_mark === 0 ? n - 1 : Math.min(this.#applied, n - 1);
    this.#overlay.mark(n);
  }

  /** What a record (n, since s) has of this disk. Wants to be read before a commit of n is heard of. */
  changes(after: number, upto: number): Iterable<DiskChange> {
    return this.#overlay.changes(after, upto);
  }

  /**
   * Transaction n is committed: what it and earlier ones wrote goes into the image.
   * @param after what is to be over before it begins: other disks of the VM may not have come as far as this one
   * @throws Error where that fails; it is kept
   */
  async commit(n: number, after: Promise<unknown> = Promise.resolve()): Promise<void> {
    const applying = Promise.allSettled([this.#applying, after]).then(async () => {
      await this.#apply(n);
      this.#applied = Math.max(this.#applied, n);
    });
    this.#applying = applying.catch(() => undefined);
    this.#committing++;
    try {
      await applying;
    } finally {
      this.#committing--;
      this.#makeRoom();
    }
  }

  /**
   * The VM goes on from transaction n: what came after is dropped. Whoever wrote it has to be closed out before.
   * A commit that is under way is of no later one than n; for 0 there must be none (`keep`).
   */
  rollBack(n: number): void {
    this.#unflushed = false;
    this.#overlay.rollBack(n);
    this.#makeRoom();
  }

  /**
   * Writes of committed transactions, from a log, go into the image once more, in order and to their end, before a VM
   * runs that was restored from it.
   */
  async redo(changes: Iterable<DiskChange>): Promise<void> {
    await this.#bring(() => changes);
  }

  async close(): Promise<void> {
    await this.#applying;
    this.#overlay.close();
    await this.#image.close();
  }

  async #apply(upto: number): Promise<void> {
    for (;;) {
      const n = this.#overlay.first(upto);
      if (n === undefined) return;
      await this.#bring(() => this.#overlay.changes(n - 1, n));
      this.#overlay.drop(n);
      this.#makeRoom();
    }
  }

  /** All of it, and flushed by whoever got all of it. */
  async #bring(changes: () => Iterable<DiskChange>): Promise<void> {
    for (;;) {
      const { life } = this.#image;
      for (const change of changes()) await this.#put(change);
      await this.#image.flush();
      if (this.#image.life === life) return;
    }
  }

  async #put({ offset, length, bytes }: DiskChange): Promise<void> {
    if (bytes === undefined) await this.#image.zero(offset, length);
    else await this.#image.write(offset, bytes);
  }

  async #change(how: () => Promise<void>): Promise<void> {
    while (this.#changing !== undefined) await this.#changing;
    const done = Promise.withResolvers<void>();
    this.#changing = done.promise;
    try {
      await how();
    } finally {
      this.#changing = undefined;
      done.resolve();
    }
  }

  async #settled(signal: AbortSignal | undefined): Promise<void> {
    while (this.#changing !== undefined) await unlessAborted(this.#changing, signal);
    signal?.throwIfAborted();
  }

  async #toChange(signal: AbortSignal | undefined, keep: () => void, put: () => Promise<void>): Promise<void> {
    for (;;) {
      await this.#settled(signal);
      this.#unflushed = true;
      if (this.#mode === "through") return await this.#directly(put());
      if (this.#overlay.bytes < this.#most_bytes) return keep();
      await unlessAborted(new Promise<void>((resolve) => this.#room.push(resolve)), signal);
    }
  }

  /** However often a stop is under way: while the image takes nothing it waits in the end, and the VM with it. */
  get #most_bytes(): number {
    if (!this.#hurried) return this.#overlay_bytes_max;
    return this.#committing > 0 ? 2 * this.#overlay_bytes_max : Number.POSITIVE_INFINITY;
  }

  async #directly(putting: Promise<void>): Promise<void> {
    this.#direct.add(putting);
    try {
      await putting;
    } finally {
      this.#direct.delete(putting);
    }
  }

  #makeRoom(): void {
    const waiting = this.#room;
    this.#room = [];
    for (const wake of waiting) wake();
  }
}

/** @throws the signal's reason when it aborts first */
async function unlessAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return await promise;
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
    aborted.promise.catch(() => undefined);
  }
}
