/**
 * What a file system answers where it is full, fails, or may not be written: nothing of it is a mistake of the agent's, and
 * all of it may be over again. EACCES and EPERM are what a host's root without CAP_DAC_OVERRIDE sees of a folder it may
 * not write (errno(3)).
 */
const TROUBLES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EPERM"]);

export function isStorageTrouble(error: unknown): boolean {
  return error instanceof Error && "code" in error && TROUBLES.has(error.code);
}

const FIRST_MS = 25;
const MOST_MS = 1_000;

/** When a write that failed is tried again: ever more seldom. */
export class WriteAgain {
  #next_ms = FIRST_MS;

  /** It has failed once more. @returns after how long it is tried again */
  failed(): number {
    const again_ms = this.#next_ms;
    this.#next_ms = Math.min(2 * again_ms, MOST_MS);
    return again_ms;
  }
}
