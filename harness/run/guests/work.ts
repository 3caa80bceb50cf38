import { UserError } from "../../base/errors.ts";
import type { GuestKind } from "../../base/run-record.ts";
import { patternBytesFor } from "../../guests/linux/command-line.ts";

/** How much a guest works by itself while the run goes on. What is absent is the guest's own default. */
export interface GuestWork {
  /** Pages that it rewrites in a second of its own time; 0 (integrity only) is as fast as it goes. */
  readonly write_rate_pages_per_s?: number;
  /** It rewrites pages in this much of its memory only, bytes, a whole number of MiB; absent: in all of it. */
  readonly working_set_bytes?: number;
  /** It says so many lines of about 100 bytes on its console in a second (integrity only). */
  readonly chatter_lines_per_s?: number;
  /** From the migration on so many datagrams a second come to it from outside, each of which it sends back; absent: none. */
  readonly storm_datagrams_per_s?: number;
  /** Between two records that it writes to a disk, as `ferryman.pace` says; 0: as fast as it goes (linux only). */
  readonly disk_pace_ms?: number;
  /** Its kernel's watchdogs are on, and panic; default off (linux only). */
  readonly watchdogs?: boolean;
}

const MIB = 1024 ** 2;

/** What a sender of a few lines keeps up. */
export const STORM_MAX = 20_000;

/** The largest write rate that a guest is asked for (fixtures/guests/integrity/main.c, settle_options). */
export const WRITE_RATE_MAX = 1_000_000;

/**
 * Memory of the integrity guest that it can reach: 32 bits without paging see what q35 has below 4 GiB, which is all of
 * it up to 2.75 GiB and the first 2 GiB of anything larger (QEMU: hw/i386/pc_q35.c, pc_q35_init).
 */
export function reachableBytes(memory_bytes: number): number {
  return memory_bytes < 2_816 * MIB ? memory_bytes : 2_048 * MIB;
}

/** As fast as it may talk (fixtures/guests/integrity/main.c, settle_options). */
export const CHATTER_MAX = 1_000;

/** What the integrity guest's image, its ledger and the firmware keep for themselves, rounded up. */
const RESERVED_BYTES = 8 * MIB;

function largestSet(guest: GuestKind, memory_bytes: number): number {
  return guest === "linux" ? patternBytesFor(memory_bytes) : reachableBytes(memory_bytes) - RESERVED_BYTES;
}

/** @throws UserError for a guest with so much memory that does not boot, or for work that it cannot do. */
export function checkWork(guest: GuestKind | object, memory_bytes: number, work: GuestWork): void {
  // One of somebody else's knows by itself what it can.
  if (typeof guest === "object") return;
  if (guest === "custom") {
    if (Object.keys(work).length > 0)
      throw new UserError("How much a custom guest works is its own matter: leave --write-rate and --working-set out.");
    return;
  }
  const most = Math.floor(largestSet(guest, memory_bytes) / MIB);
  const { write_rate_pages_per_s: rate, working_set_bytes: set, storm_datagrams_per_s: storm = 0 } = work;
  const { chatter_lines_per_s: chatter } = work;
  if (!(Number.isSafeInteger(storm) && storm >= 0 && storm <= STORM_MAX))
    throw new UserError(`A storm has 0 to ${STORM_MAX} datagrams per second, not ${storm}.`);
  if ((storm > 0 || work.watchdogs === true || work.disk_pace_ms !== undefined) && guest !== "linux")
    throw new UserError(`The ${guest} guest has no network card, no disks and no watchdogs: take --guest linux.`);
  const least = guest === "linux" ? 1 : 0;
  if (rate !== undefined && !(Number.isSafeInteger(rate) && rate >= least && rate <= WRITE_RATE_MAX)) {
    throw new UserError(
      `The ${guest} guest's write rate is ${least} to ${WRITE_RATE_MAX} pages per second, not ${rate}.`,
    );
  }
  if (chatter !== undefined && guest === "linux")
    throw new UserError("Only the integrity guest chatters: leave --chatter away, or take --guest integrity.");
  if (chatter !== undefined && !(Number.isSafeInteger(chatter) && chatter >= 0 && chatter <= CHATTER_MAX))
    throw new UserError(`The integrity guest says 0 to ${CHATTER_MAX} lines per second, not ${chatter}.`);
  if (set === undefined) return;
  if (!(set % MIB === 0 && set >= MIB && set <= most * MIB)) {
    throw new UserError(
      `The ${guest} guest's working set is 1 to ${most} MiB where it has ${memory_bytes / MIB} MiB of memory, not ${set / MIB}.`,
    );
  }
}
