import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * Whatever bytes of a disk are read from and written to. Offsets and lengths are bytes, within the size. Once `signal` is
 * aborted nothing that only waits is begun any more; what was begun is finished.
 */
export interface Backend {
  readonly size_bytes: number;
  /** Another one: whoever keeps it was reached anew, and what was written and not flushed before may be gone. Absent: never. */
  readonly life?: number;
  read(offset: number, length: number, signal?: AbortSignal): Promise<Buffer>;
  write(offset: number, bytes: Buffer, signal?: AbortSignal): Promise<void>;
  /** From now on the range reads as zeros. A discard is the same: what it leaves has to be the same everywhere. */
  zero(offset: number, length: number, signal?: AbortSignal): Promise<void>;
  /** What was written before is kept, whatever happens to the machine. */
  flush(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** What is zeroed, or carried from one place to another, goes in pieces of this size, bytes. */
export const PIECE_BYTES = 128 * 1024;

/** Whether all bytes are zero. */
export function isZero(bytes: Buffer): boolean {
  return bytes.length === 0 || (bytes[0] === 0 && bytes.compare(bytes, 0, bytes.length - 1, 1) === 0);
}

/** A raw image in a file, or a block device. */
export class FileBackend implements Backend {
  readonly size_bytes: number;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, size_bytes: number) {
    this.#handle = handle;
    this.size_bytes = size_bytes;
  }

  /** @throws Error when the file is not there or may not be written */
  static async open(path: string): Promise<FileBackend> {
    const handle = await open(path, constants.O_RDWR);
    try {
      return new FileBackend(handle, (await handle.stat()).size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length);
    for (let got = 0; got < length; ) {
      const { bytesRead } = await this.#handle.read(into, got, length - got, offset + got);
      if (bytesRead === 0) throw new Error(`the image ends at byte ${offset + got}, within its size`);
      got += bytesRead;
    }
    return into;
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    for (let put = 0; put < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, put, bytes.length - put, offset + put);
      if (bytesWritten === 0) throw new Error(`the image took none of ${bytes.length - put} bytes`);
      put += bytesWritten;
    }
  }

  /** What is zero already is left as it is: a discard of a whole disk must not fill a sparse image. */
  async zero(offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; done += PIECE_BYTES) {
      const piece = Math.min(PIECE_BYTES, length - done);
      const found = await this.read(offset + done, piece);
      if (!isZero(found)) await this.write(offset + done, found.fill(0));
    }
  }

  async flush(): Promise<void> {
    await this.#handle.datasync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
