/**
 * A compaction is worth what it costs, for room's sake, where it gives back so much of what it writes: while there is room
 * for it for some time, and at the last moment at which there is.
 */
const GAIN = { soon: 0.25, now: 0.05 } as const;

/** Beside what it holds a record has heads, of itself and of its chunks. */
const HEADS_SHARE = 0.01;
const HEADS_BYTES = 64 * 1024;

/** A log in its file, bytes. */
export interface Measures {
  /** What a log with nothing but the last transaction would take. */
  readonly live_bytes: number;
  /** Committed, and behind that what has come of the next record. */
  readonly size_bytes: number;
  readonly tail_bytes: number;
  /** Of the committed ones those that came after the compaction that is under way had begun, 0 where none is. */
  readonly behind_bytes: number;
  /** What that one has written. */
  readonly written_bytes: number;
  /** Beyond what a log holds it may always be so much longer. */
  readonly slack_bytes: number;
}

/** What a compaction is yet to write beside the log, at most, before it takes its place. */
function compactionBytes({ live_bytes, behind_bytes, tail_bytes, written_bytes }: Measures): number {
  const all_bytes = live_bytes * (1 + HEADS_SHARE) + HEADS_BYTES + behind_bytes + tail_bytes;
  return Math.max(0, all_bytes - written_bytes);
}

export function canCompact(log: Measures, free_bytes: number): boolean {
  return free_bytes >= compactionBytes(log);
}

/** Whether one would give back what counts. */
export function gainsRoom({ live_bytes, size_bytes, slack_bytes }: Measures, when: "soon" | "now"): boolean {
  return size_bytes > (1 + GAIN[when]) * live_bytes + slack_bytes;
}

/**
 * Whether so much more would leave no room for a compaction: a log that cannot be made shorter, in a folder that is full,
 * takes nothing any more, for good. What comes lies in the log and, until it is committed, in what compaction copies.
 */
export function leavesNoRoom(log: Measures, more_bytes: number, free_bytes: number): boolean {
  return free_bytes < compactionBytes(log) + 2 * more_bytes;
}
