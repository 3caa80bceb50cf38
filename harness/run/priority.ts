import { setPriority } from "node:os";

/** Ten steps of niceness before everything ordinary: about nine times their share. */
const NICENESS = -10;

/**
 * The harness goes before guests, proxies and the set-up of the next run where the machine lets it (it takes root): a
 * harness that waits a second for a processor hears of a step a second late, and its fault strikes another moment than
 * the scenario names. It needs little. Where this is refused nothing changes; `heard_late_max_ms` of a run says how late
 * it was. What an agent is given by `sched_setattr` still goes before it.
 */
export function goFirst(): void {
  try {
    setPriority(NICENESS);
  } catch {
    // Not ours to have: the run goes on as it would have.
  }
}
