import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** For one call of a program that has nothing to wait for, on a busy machine. */
const PROGRAM_MS = 5_000;
/** Node cannot ask for it: util-linux's program, which a host has, does (fallocate(2)). */
const PROGRAM = "fallocate";

/**
 * Takes the beginning of a file out of the host's memory while somebody else goes on writing its end: the rest stays where
 * it is, and the file as long as it is.
 */
export class FileRoom {
  readonly #path: string;
  readonly #every_bytes: number;
  #freed = 0;
  #busy = false;

  /** @param every_bytes so much is worth the call */
  constructor(path: string, every_bytes: number) {
    this.#path = path;
    this.#every_bytes = every_bytes;
  }

  /**
   * Nobody reads what is before this any more. @returns settles when its room is free, where that was due and could be done;
   * whether it was
   */
  async free(upTo: number): Promise<boolean> {
    const bytes = upTo - this.#freed;
    if (this.#busy || bytes < this.#every_bytes) return false;
    this.#busy = true;
    try {
      const args = ["--punch-hole", "--offset", `${this.#freed}`, "--length", `${bytes}`, this.#path];
      await promisify(execFile)(PROGRAM, args, { timeout: PROGRAM_MS });
      this.#freed = upTo;
      return true;
    } catch {
      // The file is gone, or its file system cannot: it is tried again with what comes next.
      return false;
    } finally {
      this.#busy = false;
    }
  }
}

/**
 * Takes room for so many bytes of each of these files, which stay as long as they are: what is written into them then finds
 * room where the host's memory is full by now. @throws Error where there is none
 */
export async function takeRoom(paths: readonly string[], bytes: number): Promise<void> {
  for (const path of paths)
    await promisify(execFile)(PROGRAM, ["--keep-size", "--length", `${bytes}`, path], { timeout: PROGRAM_MS });
}
