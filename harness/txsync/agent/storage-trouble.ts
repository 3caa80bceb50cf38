/**
 * What a file system answers where it is full, fails, or may not be written: nothing of it is a mistake of the agent's, and
 * all of it may be over again. EACCES and EPERM are what a host's root without CAP_DAC_OVERRIDE sees of a folder it may
 * not write (errno(3)).
 */
const TROUBLES: ReadonlySet<unknown> = new Set(["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES", "EPERM"]);

export function isStorageTrouble(error: unknown): boolean {
  return error instanceof Error && "code" in error && TROUBLES.has(error.code);
}

/** How long after a write that failed it is tried again: first, and at most. */
export const WRITE_AGAIN_MS = { first: 25, most: 1_000 } as const;
