const SPARE_BYTES = 1024 ** 3;

/**
 * Size of a host's /dev/shm for a guest with so much memory, bytes. It is a limit of the tmpfs and takes nothing by
 * itself, so it is generous; what a host really needs there is
 * - source: the RAM file, which is the base from switchover on; a restore works in place on it, with an undo journal of
 *   the pages that it writes,
 * - target: the RAM file, and records that are not at the escrow yet (each at most the pages changed since the last one
 *   that is),
 * - escrow: its copy of the base and the log, which holds each changed page once or a few times until it is compacted, and
 *   always leaves the room that this takes (`txsync/log/room.ts`).
 * So at most about four and a quarter times the memory for a guest that rewrites all of it all the time, and the device
 * states and outputs.
 */
export function hostShmBytes(memory_bytes: number): number {
  return memory_bytes * 4.5 + SPARE_BYTES;
}
