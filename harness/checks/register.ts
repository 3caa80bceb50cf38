/** A read or write of one register. Times are places in one order, each but -1 had by one of them. */
export interface RegisterOperation {
  readonly sets: boolean;
  /** What was written or read. No two writes have the same; 0 is what is there before any. */
  readonly value: number;
  readonly began: number;
  /** -1: nobody knows whether it was done, and when. */
  readonly ended: number;
}

/** All that has to do with one value: its write, and those that read it. */
interface Cluster {
  readonly value: number;
  readonly wrote_from: number;
  first_end: number;
  last_begin: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const INITIAL = 0;

/**
 * Whether these are operations of a register that is linearizable: each is done at one moment between its beginning and its
 * end, and a read has what was written last. Values are written once, so it is told by zones, in the time that sorting takes
 * (Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26(4), 1997: operations of one value are a cluster; where
 * one of them ended before another one began, the register surely had the value in between, a forward zone. Two of those may
 * not overlap, and a value whose operations were all under way at once may not have come and gone inside of one).
 * @returns what contradicts it, or undefined
 */
export function stale(operations: readonly RegisterOperation[]): string | undefined {
  const clusters = new Map<number, Cluster>([[INITIAL, clusterOf(INITIAL, 0, 0)]]);
  for (const { sets, value, began, ended } of operations)
    if (sets) clusters.set(value, clusterOf(value, began, ended < 0 ? NEVER : ended));
  for (const { sets, value, began, ended } of operations) {
    if (sets || ended < 0) continue;
    const cluster = clusters.get(value);
    if (cluster === undefined) return `${value} was read, which nobody had set`;
    if (ended < cluster.wrote_from) return `${value} was read before it was set`;
    cluster.first_end = Math.min(cluster.first_end, ended);
    cluster.last_begin = Math.max(cluster.last_begin, began);
  }
  // A write that nobody knows of and nobody read may never have been done.
  const known = [...clusters.values()].filter(({ first_end }) => first_end < NEVER);
  const forward = known.filter((one) => one.first_end < one.last_begin).sort((a, b) => a.first_end - b.first_end);
  for (const [i, later] of forward.entries()) {
    const earlier = forward[i - 1];
    if (earlier !== undefined && later.first_end < earlier.last_begin)
      return `${earlier.value} and ${later.value} were there in turns: one of them came back`;
  }
  for (const one of known) {
    if (one.first_end < one.last_begin) continue;
    const around = lastBefore(forward, one.last_begin);
    if (around !== undefined && one.first_end < around.last_begin)
      return `${one.value} was set and is gone: ${around.value} was there before and after`;
  }
  return undefined;
}

function clusterOf(value: number, began: number, ended: number): Cluster {
  return { value, wrote_from: began, first_end: ended, last_begin: began };
}

/** The last of these zones, which are in order, that begins before this. */
function lastBefore(zones: readonly Cluster[], at: number): Cluster | undefined {
  let [low, high] = [0, zones.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((zones[middle] as Cluster).first_end < at) low = middle + 1;
    else high = middle;
  }
  return zones[low - 1];
}
