/** Bytes of a guest page on x86-64: the unit in which memory is migrated, compared and kept. */
export const PAGE_BYTES = 4096;
