import { constants } from "node:fs";
import { type FileHandle, open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";

/** What the log needs of a file system, so that a test can lose what was not synced. */
export interface Files {
  /** Names in the folder. */
  list(): Promise<string[]>;
  open(name: string, how: "read" | "append" | "create"): Promise<LogFile>;
  rename(from: string, to: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Makes creations, renames and removals durable. */
  syncFolder(): Promise<void>;
}

export interface LogFile {
  size(): Promise<number>;
  /** Up to `length` bytes; fewer only at the end of the file. */
  read(offset: number, length: number): Promise<Buffer>;
  append(pieces: readonly Uint8Array[]): Promise<void>;
  truncate(size: number): Promise<void>;
  /** fdatasync. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A folder of a real file system. */
export function folder(path: string): Files {
  return {
    list: () => readdir(path),
    open: async (name, how) => {
      const flags =
        how === "read"
          ? constants.O_RDONLY
          : how === "append"
            ? constants.O_RDWR
            : constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
      return new RealFile(await open(join(path, name), flags, 0o600));
    },
    rename: (from, to) => rename(join(path, from), join(path, to)),
    remove: (name) => rm(join(path, name)),
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

  constructor(handle: FileHandle) {
    this.#handle = handle;
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

  async append(pieces: readonly Uint8Array[]): Promise<void> {
    let at = await this.size();
    for (const piece of pieces) {
      let done = 0;
      while (done < piece.length) {
        const { bytesWritten } = await this.#handle.write(piece, done, piece.length - done, at + done);
        done += bytesWritten;
      }
      at += piece.length;
    }
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
