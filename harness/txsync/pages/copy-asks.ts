/** How the escrow's copy of the base asks for it: for as much as there is room for, from the other end than the target. */
export const COPY_ASKS = { order: "descending", window_pages: 512, bytes_per_s: 0, retry_ms: 250 } as const;
/** A record of which nothing came for so long is not waited for: its link is down, perhaps. */
export const RECORD_MOVES_MS = 100;
