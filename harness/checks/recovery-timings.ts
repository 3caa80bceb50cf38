import { quantileSorted } from "d3-array";
import type { RunTimings } from "../base/run-record.ts";
import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import type { Stillness } from "./stillness.ts";

type NotOurs = "total_ms" | "fleet_ms" | "boot_ms" | "migration_ms" | "check_ms" | keyof Stillness;
type Timings = Omit<RunTimings, NotOurs>;

/** Faults that only make a link or a disk worse: nothing dies of them. */
const SHAPING: readonly string[] = [
  "bandwidth",
  "latency",
  "slice",
  "byte-limit",
  "fill",
  "cpu-pressure",
  "deny-writes",
  "qmp",
];

/**
 * What the agents' events say of a recovery; a function of the timeline. Times are seen from the harness, a few
 * milliseconds late.
 *
 * - `detect_ms`: from the fault until an agent acts on it: its lease is lost, it asks for votes, it takes over; absent where
 *   none has to, as for a source's QEMU after switchover. The fault that a restore is for is the first one that was still in
 *   force when it began; where none was, the last before it.
 * - `recover_ms`: from there until the restored guest runs (it was asked to, and said that it does); only where one was
 *   restored. Between the two lie the votes, the restore and the second vote.
 * - `lost_steps`: how far the guest was seen to come where it died, less where it was when the transaction was taken that
 *   it was restored from (between two looks at it: in proportion to the time).
 * - `source_needed_ms`: from switchover until escrow and target together have all of the base; absent where that never was.
 * - `pause_*_ms`: how long the guest stood still for a transaction by QEMU's stamps, where the agent tells them; the
 *   parts (`stop`, `device`, `find_copy`, `cont`) are medians, each of its own, and need not add up.
 * - `control_late_*_ms`, `agent_rss_max_mib`: of the worst agent, over all its lives, until it is settled who has the VM:
 *   then the harness reads all of its memory, and who is late is late because of that.
 */
export function recoveryTimings(events: readonly TimelineEvent[]): Timings {
  const committed = events.filter(({ kind }) => kind === "tx.committed").length;
  return {
    ...recovery(events),
    ...sourceNeeded(events),
    ...(committed > 0 ? { transactions: committed } : {}),
    ...pauses(events),
    ...vitals(events),
  };
}

function sourceNeeded(events: readonly TimelineEvent[]): Timings {
  const switched = events.find((event) => event.kind === "migration.step" && event.step === "switchover");
  if (switched === undefined) return {};
  const covered = events.find(
    ({ kind, lane, at_ms }) => kind === "base.covered" && lane === "target" && at_ms >= switched.at_ms,
  );
  return covered === undefined ? {} : { source_needed_ms: Math.round(covered.at_ms - switched.at_ms) };
}

function pauses(events: readonly TimelineEvent[]): Timings {
  const taken = events.flatMap((event) => (event.kind === "tx.taken" ? [event] : []));
  if (taken.length === 0) return {};
  const at = (share: number, of: (event: (typeof taken)[number]) => number | undefined): number | undefined => {
    const values = taken.flatMap((event) => of(event) ?? []).sort((a, b) => a - b);
    const value = quantileSorted(values, share);
    return value === undefined ? undefined : Math.round(value * 10) / 10;
  };
  const still = (share: number): number => at(share, ({ still_ms, pause_ms }) => still_ms ?? pause_ms) ?? 0;
  const cont_p50_ms = at(0.5, ({ cont_ms }) => cont_ms);
  return {
    pause_p50_ms: still(0.5),
    pause_p90_ms: still(0.9),
    pause_p99_ms: still(0.99),
    pause_max_ms: still(1),
    stop_p50_ms: at(0.5, ({ stop_ms }) => stop_ms) ?? 0,
    device_p50_ms: at(0.5, ({ device_ms }) => device_ms) ?? 0,
    find_copy_p50_ms: at(0.5, ({ find_ms, copy_ms }) => find_ms + copy_ms) ?? 0,
    ...(cont_p50_ms === undefined ? {} : { cont_p50_ms }),
  };
}

/** What an agent tells is since its start: the last word of each life counts, and a worst that shrinks is another life. */
function vitals(events: readonly TimelineEvent[]): Timings {
  const lives = new Map<string, { p99_ms: number; max_ms: number }[]>();
  let rss_mib: number | undefined;
  for (const event of events) {
    if (event.kind === "run.settled") break;
    if (event.kind !== "agent.vitals") continue;
    const [p99_ms, max_ms] = [event.control_late_p99_ms, event.control_late_max_ms];
    const known = lives.get(event.lane) ?? [];
    lives.set(event.lane, known);
    const last = known.at(-1);
    if (last === undefined || max_ms < last.max_ms) known.push({ p99_ms, max_ms });
    else Object.assign(last, { p99_ms, max_ms });
    rss_mib = Math.max(rss_mib ?? 0, event.rss_mib);
  }
  if (rss_mib === undefined) return {};
  const all = [...lives.values()].flat();
  const worst = (of: (life: (typeof all)[number]) => number): number => Math.round(Math.max(...all.map(of)) * 10) / 10;
  return {
    control_late_p99_ms: worst(({ p99_ms }) => p99_ms),
    control_late_max_ms: worst(({ max_ms }) => max_ms),
    agent_rss_max_mib: Math.round(rss_mib),
  };
}

function recovery(events: readonly TimelineEvent[]): Timings {
  const first = events.find(({ kind }) => kind === "fault.injected");
  if (first === undefined) return {};
  const restored = events.find(({ kind, at_ms }) => kind === "restore.running" && at_ms > first.at_ms);
  if (restored?.kind !== "restore.running") {
    const handoffs = askedForHandoff(events);
    const detected = events.find(
      (event) => event.at_ms > first.at_ms && DETECTED.includes(event.kind) && !handoffs.includes(event),
    );
    return detected === undefined ? {} : { detect_ms: Math.round(detected.at_ms - first.at_ms) };
  }
  const started = events.find(
    ({ kind, lane, at_ms }) =>
      kind === "restore.started" && lane === restored.lane && at_ms > first.at_ms && at_ms <= restored.at_ms,
  );
  const fault = faultBehind(events, started?.at_ms ?? restored.at_ms) ?? first;
  const after = events.filter(({ at_ms }) => at_ms > fault.at_ms && at_ms <= restored.at_ms);
  // Who lost the lease of somebody else has not detected this yet: the vote is what the recovery begins with.
  const began =
    after.find(({ kind, lane }) => kind === "vote.asked" && lane === restored.lane) ??
    after.find(({ kind }) => kind === "vote.asked") ??
    after.find(({ kind }) => DETECTED.includes(kind));
  if (began === undefined) return {};
  return {
    detect_ms: Math.round(began.at_ms - fault.at_ms),
    recover_ms: Math.round(restored.at_ms - began.at_ms),
    ...lost(events, restored.at_ms, restored.lane as HostRole, restored.generation),
  };
}

/** Where nothing is restored, who asks to own the VM alone has all of its pages: that is no answer to a fault. */
function askedForHandoff(events: readonly TimelineEvent[]): readonly TimelineEvent[] {
  const of_handoffs = events.flatMap((event) =>
    event.kind === "vote.message" && event.message === "ask" && event.mode === "final" ? [event.generation] : [],
  );
  return events.filter((event) => event.kind === "vote.asked" && of_handoffs.includes(event.generation));
}

const DETECTED: readonly string[] = ["lease.lost", "vote.asked", "takeover", "restore.started"];

/** The fault that a restore which began then is for. */
function faultBehind(events: readonly TimelineEvent[], began_ms: number): TimelineEvent | undefined {
  const before = events.filter(({ at_ms }) => at_ms < began_ms);
  const healed = new Set(before.flatMap((event) => (event.kind === "fault.healed" ? [event.id] : [])));
  const struck = before.flatMap((event) =>
    event.kind === "fault.injected" && !SHAPING.includes(event.fault) ? [event] : [],
  );
  return struck.find(({ id }) => !healed.has(id)) ?? struck.at(-1);
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
