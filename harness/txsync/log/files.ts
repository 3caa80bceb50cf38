import { constants, read, readSync, statfsSync } from "node:fs";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** What the log needs of a file system, so that a test can lose what was not synced, and let anything fail. */
export interface Files {
  /** Names in the folder. */
  list(): Promise<string[]>;
  open(name: string, how: "read" | "append" | "create"): Promise<LogFile>;
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Bytes that there is room for now, infinity where nobody knows. Asked before every write, which 5 µs are little beside. */
  free(): number;
  /** Makes creations, renames and removals durable. */
  syncFolder(): Promise<void>;
}

export interface LogFile {
  size(): Promise<number>;
  /** Up to `length` bytes; fewer only at the end of the file. */
  read(offset: number, length: number): Promise<Buffer>;
  /** Reads `length` bytes at each place, one behind the other into `into`. @throws Error where the file is shorter. */
  gather(places: readonly { readonly offset: number; readonly length: number }[], into: Buffer): Promise<void>;
  /** Writes at a place. @returns how many bytes it took, which may be fewer. */
  write(offset: number, bytes: Uint8Array): Promise<number>;
  truncate(size: number): Promise<void>;
  /** fdatasync. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** Writes all of it. @throws whatever the file does; part of it may have been written then. */
export async function writeAll(file: LogFile, offset: number, bytes: Uint8Array): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const took = await file.write(offset + done, done === 0 ? bytes : bytes.subarray(done));
    if (took <= 0) throw new Error(`the file took none of ${bytes.length - done} bytes`);
    done += took;
  }
}

/** So few reads are worth a turn of the event loop each. */
const FEW_READS = 4;

export interface FolderOptions {
  /**
   * The folder is in memory (tmpfs): many small reads are done at once, 2 microseconds each, instead of a turn of the
   * event loop for each.
   */
  readonly in_memory?: boolean;
}

/** A folder of a real file system. */
export function folder(path: string, { in_memory = false }: FolderOptions = {}): Files {
  return {
    list: () => readdir(path),
    open: async (name, how) => {
      const flags =
        how === "read"
          ? constants.O_RDONLY
          : how === "append"
            ? constants.O_RDWR
            : constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
      return new RealFile(await open(join(path, name), flags, 0o600), in_memory);
    },
    rename: (from, to) => rename(join(path, from), join(path, to)),
    remove: (name) => rm(join(path, name)),
    free: () => {
      try {
        const { blocks, bavail, bsize } = statfsSync(path);
        // A tmpfs without a limit says that it has none at all.
        return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
      } catch {
        // What is asked of it next says what is wrong with it.
        return Number.POSITIVE_INFINITY;
      }
    },
    syncFolder: async () => {
      const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
  };
}

class RealFile implements LogFile {
  readonly #handle: FileHandle;
  readonly #in_memory: boolean;

  constructor(handle: FileHandle, in_memory: boolean) {
    this.#handle = handle;
    this.#in_memory = in_memory;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const out = Buffer.allocUnsafe(length);
    let got = 0;
    while (got < length) {
      const { bytesRead } = await this.#handle.read(out, got, length - got, offset + got);
      if (bytesRead === 0) break;
      got += bytesRead;
    }
    return out.subarray(0, got);
  }

  async gather(places: readonly { offset: number; length: number }[], into: Buffer): Promise<void> {
    if (this.#in_memory && places.length > FEW_READS) this.#gatherAtOnce(places, into);
    else await this.#gatherTogether(places, into);
  }

  #gatherAtOnce(places: readonly { offset: number; length: number }[], into: Buffer): void {
    let at = 0;
    for (const { offset, length } of places) {
      for (let got = 0; got < length; ) {
        const bytes = readSync(this.#handle.fd, into, at + got, length - got, offset + got);
        if (bytes === 0) throw cutShort(offset + got);
        got += bytes;
      }
      at += length;
    }
  }

  async #gatherTogether(places: readonly { offset: number; length: number }[], into: Buffer): Promise<void> {
    const reads: Promise<void>[] = [];
    let at = 0;
    for (const { offset, length } of places) {
      reads.push(this.#readInto(into, at, offset, length));
      at += length;
    }
    await Promise.all(reads);
  }

  #readInto(into: Buffer, at: number, offset: number, length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      read(this.#handle.fd, into, at, length, offset, (error, bytes) => {
        if (error !== null) reject(error);
        else if (bytes === 0) reject(cutShort(offset));
        else if (bytes < length) resolve(this.#readInto(into, at + bytes, offset + bytes, length - bytes));
        else resolve();
      });
    });
  }

  async write(offset: number, bytes: Uint8Array): Promise<number> {
    return (await this.#handle.write(bytes, 0, bytes.length, offset)).bytesWritten;
  }

  truncate(size: number): Promise<void> {
    return this.#handle.truncate(size);
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

function cutShort(offset: number): Error {
  return new Error(`the file ends at byte ${offset}, within what was written to it`);
}
