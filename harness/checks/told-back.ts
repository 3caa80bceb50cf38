import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import type { Instance } from "./instances.ts";

export type Told = Extract<TimelineEvent, { readonly kind: "guest.progress" }>;

/**
 * What the guest told the world of itself, on its console, until it was reset: a reset begins anew. What was only peeked at in
 * memory nobody has seen.
 */
export function toldBy(events: readonly TimelineEvent[]): readonly Told[] {
  const reset_ms = events.find((event) => event.kind === "qmp.event" && event.event === "RESET")?.at_ms;
  return events.flatMap((event) =>
    event.kind === "guest.progress" && event.outside === true && event.at_ms < (reset_ms ?? Number.POSITIVE_INFINITY)
      ? [event]
      : [],
  );
}

export interface ToldBack {
  readonly before: Told;
  readonly after: Told;
  /** By how much. */
  readonly by: number;
}

/**
 * Whether a counter of a vCPU was less far once its vCPUs ran again, and where it was worst. What was told before they did
 * counts, on whichever host.
 * @param counter what of a line; undefined: it does not say
 */
export function toldBack(
  lines: readonly Told[],
  instances: readonly Instance[],
  counter: (line: Told) => number | undefined,
): ToldBack | undefined {
  let worst: ToldBack | undefined;
  for (const [at, after] of lines.entries()) {
    const value = counter(after);
    const since_ms = resumedBefore(instances, after.host, after.at_ms);
    if (value === undefined || since_ms === undefined) continue;
    for (const before of lines.slice(0, at)) {
      if (before.cpu !== after.cpu || before.at_ms >= since_ms) continue;
      const by = (counter(before) ?? value) - value;
      if (by > (worst?.by ?? 0)) worst = { before, after, by };
    }
  }
  return worst;
}

/** When the vCPUs of the instance on a host last began to run before that time. */
function resumedBefore(instances: readonly Instance[], host: HostRole, at_ms: number): number | undefined {
  let since_ms: number | undefined;
  for (const instance of instances) {
    if (instance.host !== host) continue;
    for (const { from_ms } of instance.spans)
      if (from_ms <= at_ms && from_ms > (since_ms ?? Number.NEGATIVE_INFINITY)) since_ms = from_ms;
  }
  return since_ms;
}
