import type { Files, LogFile } from "../files.ts";

/** The power went: the write under way may have got there in part, or not at all. */
export class PowerLoss extends Error {
  override readonly name = "PowerLoss";
}

interface Content {
  bytes: Buffer;
  /** So many bytes from the start are on disk for sure. */
  synced: number;
}

/**
 * A file system in memory for tests. It counts its operations and loses power at one of them; after that, what was not
 * synced is kept or lost by chance: tails of files byte by byte, renames and removals one by one from the end.
 */
export class LossyFiles implements Files {
  /** The folder as the process sees it, and the folder entries that are on disk for sure. */
  #seen = new Map<string, Content>();
  #durable = new Map<string, Content>();
  /** Changes of the folder since it was synced, in order. */
  #pending: ((entries: Map<string, Content>) => void)[] = [];
  operations = 0;
  /** So much all files together may have. */
  capacity_bytes = Number.POSITIVE_INFINITY;
  /** As little was free at any time. */
  least_free_bytes = Number.POSITIVE_INFINITY;
  #failAt = Number.POSITIVE_INFINITY;

  /** Whether the power went. */
  get dark(): boolean {
    return this.operations > this.#failAt;
  }

  loseAt(operation: number): void {
    this.#failAt = operation;
  }

  /** What a new process finds after the power came back; `keep(n)` says how many of n unsynced things were kept. */
  recover(keep: (n: number) => number): void {
    const entries = new Map(this.#durable);
    for (const change of this.#pending.slice(0, keep(this.#pending.length))) change(entries);
    for (const content of new Set(entries.values())) {
      const tail = content.bytes.length - content.synced;
      content.bytes = content.bytes.subarray(0, content.synced + (tail > 0 ? keep(tail) : 0));
      content.synced = content.bytes.length;
    }
    this.#seen = new Map(entries);
    this.#durable = new Map(entries);
    this.#pending = [];
    this.#failAt = Number.POSITIVE_INFINITY;
  }

  /** The process died, the machine did not: everything written is still there. */
  restart(): void {
    this.#failAt = Number.POSITIVE_INFINITY;
  }

  /** A file as the process sees it, and as a test wants it to be. */
  bytesOf(name: string): Buffer | undefined {
    return this.#seen.get(name)?.bytes;
  }

  put(name: string, bytes: Buffer): void {
    this.#change((entries) => entries.set(name, { bytes: Buffer.from(bytes), synced: bytes.length }));
  }

  /** Of all files, bytes. */
  get used_bytes(): number {
    return [...this.#seen.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  free(): number {
    return Math.max(0, this.capacity_bytes - this.used_bytes);
  }

  #step(): boolean {
    this.operations += 1;
    return this.operations > this.#failAt;
  }

  #change(change: (entries: Map<string, Content>) => void): void {
    change(this.#seen);
    this.#pending.push(change);
  }

  async list(): Promise<string[]> {
    return [...this.#seen.keys()];
  }

  async open(name: string, how: "read" | "append" | "create"): Promise<LogFile> {
    if (how === "create") {
      if (this.#step()) throw new PowerLoss();
      const content: Content = { bytes: Buffer.alloc(0), synced: 0 };
      this.#change((entries) => entries.set(name, content));
    }
    const content = this.#seen.get(name);
    if (content === undefined) throw new Error(`no file ${name}`);
    return this.#file(content);
  }

  #file(content: Content): LogFile {
    return {
      size: async () => content.bytes.length,
      read: async (offset, length) => Buffer.from(content.bytes.subarray(offset, offset + length)),
      gather: async (places, into) => {
        let at = 0;
        for (const { offset, length } of places) {
          if (offset + length > content.bytes.length) throw new Error(`the file ends before byte ${offset + length}`);
          at += content.bytes.copy(into, at, offset, offset + length);
        }
      },
      write: async (offset, bytes) => {
        const lost = this.#step();
        const end = Math.max(content.bytes.length, offset + bytes.length);
        if (end - content.bytes.length > this.free())
          throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
        const written = Buffer.alloc(end);
        content.bytes.copy(written);
        written.set(bytes, offset);
        content.bytes = written;
        this.least_free_bytes = Math.min(this.least_free_bytes, this.free());
        content.synced = Math.min(content.synced, offset);
        if (lost) throw new PowerLoss();
        return bytes.length;
      },
      truncate: async (size) => {
        if (this.#step()) throw new PowerLoss();
        content.bytes = content.bytes.subarray(0, size);
        content.synced = Math.min(content.synced, size);
      },
      sync: async () => {
        if (this.#step()) throw new PowerLoss();
        content.synced = content.bytes.length;
      },
      close: async () => undefined,
    };
  }

  async rename(from: string, to: string): Promise<void> {
    if (this.#step()) throw new PowerLoss();
    this.#change((entries) => {
      const content = entries.get(from);
      if (content === undefined) return;
      entries.delete(from);
      entries.set(to, content);
    });
  }

  async remove(name: string): Promise<void> {
    if (this.#step()) throw new PowerLoss();
    this.#change((entries) => entries.delete(name));
  }

  async syncFolder(): Promise<void> {
    if (this.#step()) throw new PowerLoss();
    this.#durable = new Map(this.#seen);
    this.#pending = [];
  }
}
