import { quantileSorted } from "d3-array";
import type { RunTimings } from "../base/run-record.ts";
import type { HostRole, TimelineEvent } from "../base/timeline.ts";

type Timings = Pick<
  RunTimings,
  "detect_ms" | "recover_ms" | "lost_steps" | "transactions" | "pause_p50_ms" | "pause_p90_ms" | "pause_max_ms"
>;

/**
 * What the agents' events say of a recovery; a function of the timeline. Times are seen from the harness, a few
 * milliseconds late.
 *
 * - `detect_ms`: from the first fault until an agent acts on it: its lease is lost, it asks for votes, it takes over.
 * - `recover_ms`: from there until the restored guest runs; only where one was restored.
 * - `lost_steps`: how far the guest was seen to come where it died, less where it was when the transaction was taken that
 *   it was restored from (between two looks at it: in proportion to the time).
 */
export function recoveryTimings(events: readonly TimelineEvent[]): Timings {
  const pauses = events.flatMap((event) => (event.kind === "tx.taken" ? [event.pause_ms] : [])).sort((a, b) => a - b);
  const committed = events.filter(({ kind }) => kind === "tx.committed").length;
  const pause = (at: number): number => Math.round((quantileSorted(pauses, at) ?? 0) * 10) / 10;
  return {
    ...recovery(events),
    ...(committed > 0 ? { transactions: committed } : {}),
    ...(pauses.length > 0 ? { pause_p50_ms: pause(0.5), pause_p90_ms: pause(0.9), pause_max_ms: pause(1) } : {}),
  };
}

function recovery(events: readonly TimelineEvent[]): Timings {
  const fault = events.find(({ kind }) => kind === "fault.injected");
  if (fault === undefined) return {};
  const after = events.filter(({ at_ms }) => at_ms > fault.at_ms);
  const detected = after.find(
    ({ kind }) => kind === "lease.lost" || kind === "vote.asked" || kind === "takeover" || kind === "restore.started",
  );
  if (detected === undefined) return {};
  const detect_ms = Math.round(detected.at_ms - fault.at_ms);
  const restored = after.find(({ kind }) => kind === "restore.running");
  if (restored?.kind !== "restore.running") return { detect_ms };
  // Who lost the lease of somebody else has not detected this yet: the vote is what the recovery begins with.
  const began = after.find(({ kind, at_ms }) => kind === "vote.asked" && at_ms <= restored.at_ms) ?? detected;
  return {
    detect_ms: Math.round(began.at_ms - fault.at_ms),
    recover_ms: Math.round(restored.at_ms - began.at_ms),
    ...lost(events, restored.at_ms, restored.lane as HostRole, restored.generation),
  };
}

/** Steps that were done elsewhere before, and are not in what was restored. */
function lost(events: readonly TimelineEvent[], restored_ms: number, owner: HostRole, generation: number): Timings {
  const seen = events.flatMap((event) =>
    event.kind === "guest.progress" && event.at_ms < restored_ms && event.host !== owner ? [event] : [],
  );
  const started = events.findLast((event) => event.kind === "restore.started" && event.generation < generation);
  const n = started?.kind === "restore.started" ? started.n : undefined;
  const taken = events.findLast(
    (event) => event.kind === "tx.taken" && event.n === n && event.at_ms < (started?.at_ms ?? 0),
  );
  const last = seen.at(-1);
  if (taken === undefined || last === undefined) return {};
  const after = seen.find(({ at_ms }) => at_ms >= taken.at_ms);
  const before = seen.findLast(({ at_ms }) => at_ms < taken.at_ms);
  if (before === undefined) return {};
  // Nobody saw it go beyond the transaction.
  if (after === undefined) return { lost_steps: 0 };
  const share = (taken.at_ms - before.at_ms) / (after.at_ms - before.at_ms);
  const at_transaction = before.step + share * (after.step - before.step);
  return { lost_steps: Math.max(0, Math.round(last.step - at_transaction)) };
}
