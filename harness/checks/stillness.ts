import type { TimelineEvent } from "../base/timeline.ts";

/** What is known of the guest's standing still while it was carried over. */
export interface Stillness {
  /**
   * The longest time in which it was not seen to get further, anywhere, less what it ran in that time by its own clock: an
   * upper bound, to 50 ms where the guest tells no clock. Undefined where nobody looked that long.
   */
  readonly downtime_ms?: number;
  /** The longest time from a STOP to the next RESUME, on whichever host, by QEMU's own stamps. */
  readonly stopped_max_ms?: number;
  /** The longest time in which nobody looked at a VM that ran. */
  readonly unseen_max_ms?: number;
  /** How late the harness heard of a look at worst: it did not get to run, or what brings it was busy. */
  readonly heard_late_max_ms?: number;
}

type Progress = Extract<TimelineEvent, { kind: "guest.progress" }>;

export function stillnessOf(events: readonly TimelineEvent[]): Stillness {
  const from = events.findIndex((event) => event.kind === "run.phase" && event.phase === "migrate");
  const to = events.findIndex((event, index) => index > from && event.kind === "run.phase");
  // What is not over was not looked at to its end.
  if (from < 0 || to < 0) return {};
  const carried = events.slice(from, to);
  const all = carried.filter((event): event is Progress => event.kind === "guest.progress");
  const inside = all.filter(({ outside }) => outside !== true);
  // What the guest tells the world comes later than it happened: only where nobody can look at it, and it says how long it ran.
  const isTold = ({ outside, ran_ms }: Progress): boolean => outside === true && ran_ms !== undefined;
  // The first that it tells afterwards ends what was open: by then it is known to run, but not by its own lines.
  const next = events.slice(to).find((event): event is Progress => event.kind === "guest.progress" && isTold(event));
  const told = [...all.filter(isTold), ...(next === undefined ? [] : [next])];
  const looks = told.length === 0 || inside.some(({ looked_ms }) => looked_ms !== undefined) ? inside : told;
  const unseen_ms = looks.flatMap((look) => look.unseen_ms ?? []);
  const late_ms = looks.flatMap(({ at_ms, looked_ms }) => (looked_ms === undefined ? [] : [at_ms - looked_ms]));
  const stopped_max_ms = longestStop(carried);
  return {
    downtime_ms: Math.round(longestStandstill(looks)),
    ...(stopped_max_ms === undefined ? {} : { stopped_max_ms }),
    ...(unseen_ms.length === 0 ? {} : { unseen_max_ms: Math.round(Math.max(...unseen_ms)) }),
    ...(late_ms.length === 0 ? {} : { heard_late_max_ms: Math.max(0, Math.round(Math.max(...late_ms))) }),
  };
}

function longestStandstill(looks: readonly Progress[]): number {
  let furthest: { readonly at_ms: number; readonly step: number; readonly ran_ms: number | undefined } | undefined;
  let longest_ms = 0;
  for (const { at_ms, looked_ms = at_ms, step, ran_ms } of looks) {
    if (furthest !== undefined && step <= furthest.step) continue;
    if (furthest !== undefined) {
      const gap_ms = looked_ms - furthest.at_ms;
      // A guest whose processor waits for a page, or is stopped, counts less of the time than has gone by, never more.
      const ran = ran_ms === undefined || furthest.ran_ms === undefined ? 0 : Math.max(0, ran_ms - furthest.ran_ms);
      longest_ms = Math.max(longest_ms, gap_ms - ran);
    }
    furthest = { at_ms: looked_ms, step, ran_ms };
  }
  return longest_ms;
}

function longestStop(events: readonly TimelineEvent[]): number | undefined {
  const told = events
    .flatMap((event) =>
      event.kind === "qmp.event" && event.qemu_ms !== undefined && ["STOP", "RESUME"].includes(event.event)
        ? [{ what: event.event, at_ms: event.qemu_ms }]
        : [],
    )
    .sort((a, b) => a.at_ms - b.at_ms);
  let stopped_ms: number | undefined;
  let longest_ms: number | undefined;
  for (const { what, at_ms } of told) {
    if (what === "STOP") stopped_ms ??= at_ms;
    else if (stopped_ms !== undefined) {
      longest_ms = Math.max(longest_ms ?? 0, at_ms - stopped_ms);
      stopped_ms = undefined;
    }
  }
  return longest_ms === undefined ? undefined : Math.round(longest_ms * 10) / 10;
}
