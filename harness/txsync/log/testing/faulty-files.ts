import type { Files, LogFile } from "../files.ts";

export type Operation =
  | "create"
  | "write"
  | "sync"
  | "truncate"
  | "read"
  | "rename"
  | "remove"
  | "syncFolder"
  | "close";

/** What becomes of an operation: it fails with this code, or a write takes so many bytes and no more. */
export type Trouble = { readonly code: string } | { readonly takes: number };

/** A file system that does what a test says, over another. */
export class FaultyFiles implements Files {
  readonly #files: Files;
  /** Asked before every operation; `undefined`: it goes through. */
  trouble: (operation: Operation, name: string) => Trouble | undefined = () => undefined;
  /** Files that are open. */
  open_files = 0;

  constructor(files: Files) {
    this.#files = files;
  }

  /** The next operations of this kind fail, as often as said. */
  fail(operation: Operation, code: string, times = 1): void {
    let left = times;
    this.trouble = (now) => {
      if (now !== operation || left === 0) return undefined;
      left -= 1;
      return { code };
    };
  }

  #check(operation: Operation, name: string): number {
    const trouble = this.trouble(operation, name);
    if (trouble === undefined) return Number.POSITIVE_INFINITY;
    if ("takes" in trouble) return trouble.takes;
    throw Object.assign(new Error(`${trouble.code}: ${operation} of ${name}`), { code: trouble.code });
  }

  list(): Promise<string[]> {
    return this.#files.list();
  }

  async open(name: string, how: "read" | "append" | "create"): Promise<LogFile> {
    if (how === "create") this.#check("create", name);
    const file = await this.#files.open(name, how);
    this.open_files += 1;
    return {
      size: () => file.size(),
      read: async (offset, length) => {
        this.#check("read", name);
        return file.read(offset, length);
      },
      gather: async (places, into) => {
        this.#check("read", name);
        await file.gather(places, into);
      },
      write: async (offset, bytes) => {
        const takes = this.#check("write", name);
        return file.write(offset, takes < bytes.length ? bytes.subarray(0, takes) : bytes);
      },
      truncate: async (size) => {
        this.#check("truncate", name);
        await file.truncate(size);
      },
      sync: async () => {
        this.#check("sync", name);
        await file.sync();
      },
      close: async () => {
        this.open_files -= 1;
        this.#check("close", name);
        await file.close();
      },
    };
  }

  async rename(from: string, to: string): Promise<void> {
    this.#check("rename", from);
    await this.#files.rename(from, to);
  }

  async remove(name: string): Promise<void> {
    this.#check("remove", name);
    await this.#files.remove(name);
  }

  free(): number {
    return this.#files.free();
  }

  async syncFolder(): Promise<void> {
    this.#check("syncFolder", "");
    await this.#files.syncFolder();
  }
}
