import type { RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { NetworkFindings } from "../checks/network-history.ts";
import { quantileOf } from "./spread.ts";

/** How long the guest stood still for one transaction, and the parts of it. */
export interface Pause {
  readonly still_ms: number;
  /** By QEMU's own stamps of STOP and RESUME; false: as the agent saw it, which is later by what `cont`'s answer was late. */
  readonly stamped: boolean;
  readonly stop_ms: number;
  readonly device_ms: number;
  readonly find_copy_ms: number;
  /** Absent without stamps. */
  readonly cont_ms?: number;
}

/** What was measured in one run. Absent: the run has no such thing. */
export interface Measures {
  /** From asking for the migration until the VM is whole where it went; where it never was, until that was settled. */
  readonly total_ms?: number;
  /** Sent on the fabric meanwhile by all three hosts, headers and acknowledgements included. */
  readonly wire_bytes?: number;
  /** Of the guest on the target, while it is being carried over. */
  readonly steps_per_s?: number;
  readonly downtime_ms?: number;
  /** From STOP at the source to RESUME at the target, by QEMU's own stamps: what the switchover alone costs. */
  readonly switchover_ms?: number;
  /** From the target's running until the VM is whole there. */
  readonly postcopy_ms?: number;
  /** From switchover until the source's host may be lost. */
  readonly source_needed_ms?: number;
  /** Records of a page that it writes to its disks on the target, each read back before it is written over. */
  readonly disk_records_per_s?: number;
  /** How long a client outside waited for the guest's answer by its network card, asked while the guest was carried over. */
  readonly net_p50_ms?: number;
  readonly net_p99_ms?: number;
  readonly transactions?: number;
  readonly pause_p50_ms?: number;
  readonly pause_p99_ms?: number;
  readonly stop_p50_ms?: number;
  readonly stop_p99_ms?: number;
  readonly device_p50_ms?: number;
  readonly device_p99_ms?: number;
  readonly find_copy_p50_ms?: number;
  readonly find_copy_p99_ms?: number;
  readonly cont_p50_ms?: number;
  readonly cont_p99_ms?: number;
  /** How long the guest's output was held back while it was protected, on the target or where it never left. */
  readonly output_p50_ms?: number;
  readonly output_p99_ms?: number;
  /** Processor time of the three agents and their helpers, and the same per second of the migration. */
  readonly agents_cpu_ms?: number;
  readonly agents_cpu_share?: number;
  readonly agent_rss_max_mib?: number;
  readonly control_late_p99_ms?: number;
  readonly control_late_max_ms?: number;
  readonly detect_ms?: number;
  readonly recover_ms?: number;
  readonly lost_steps?: number;
  /** Of a VM that is protected where it runs: before, and meanwhile; and the one over the other. */
  readonly free_steps_per_s?: number;
  readonly protected_steps_per_s?: number;
  readonly protected_share?: number;
  /** Of records that the escrow has stored meanwhile. */
  readonly log_bytes_per_s?: number;
}
export type Measure = keyof Measures;

/** A run as the bench keeps it: what was measured, and every single value that a percentile was made of. */
export interface Measured {
  readonly measures: Measures;
  readonly pauses: readonly Pause[];
  /** How long output waited, ms, each time that some was let out while the guest was protected. */
  readonly output_waits_ms: readonly number[];
}

/** What a run's record, timeline and evidence tell; a function of them, so that it can be made again from what a bench kept. */
export function measure(
  record: RunRecord,
  events: readonly TimelineEvent[],
  network?: Pick<NetworkFindings, "operations">,
): Measured {
  const kept = protectedTime(events);
  const during = kept === undefined ? events : within(events, kept);
  const pauses = during.flatMap((event) => (event.kind === "tx.taken" ? [pauseOf(event)] : []));
  const output_waits_ms = kept === undefined ? heldBack(events) : during.flatMap((event) => waitOf(event, "source"));
  const { timings } = record;
  const of = (pick: (pause: Pause) => number | undefined): number[] => pauses.flatMap((pause) => pick(pause) ?? []);
  const total_ms = wholeAfter_ms(events) ?? timings.migration_ms;
  const usage = usageIn(events);
  const measures: { [M in Measure]: number | undefined } = {
    total_ms,
    wire_bytes: usage.wire_bytes,
    steps_per_s: stepsPerSecond(events),
    downtime_ms: timings.downtime_ms,
    switchover_ms: switchoverOf(events),
    postcopy_ms: postcopyOf(events),
    source_needed_ms: timings.source_needed_ms,
    disk_records_per_s: diskRecordsPerSecond(events),
    ...percentiles("net", answersWhileCarried(record, events, network)),
    transactions: timings.transactions,
    ...percentiles(
      "pause",
      of(({ still_ms }) => still_ms),
    ),
    ...percentiles(
      "stop",
      of(({ stop_ms }) => stop_ms),
    ),
    ...percentiles(
      "device",
      of(({ device_ms }) => device_ms),
    ),
    ...percentiles(
      "find_copy",
      of(({ find_copy_ms }) => find_copy_ms),
    ),
    ...percentiles(
      "cont",
      of(({ cont_ms }) => cont_ms),
    ),
    ...percentiles("output", output_waits_ms),
    agents_cpu_ms: usage.agents_cpu_ms,
    agents_cpu_share:
      usage.agents_cpu_ms === undefined || !total_ms ? undefined : round(usage.agents_cpu_ms / total_ms, 3),
    agent_rss_max_mib: timings.agent_rss_max_mib,
    control_late_p99_ms: timings.control_late_p99_ms,
    control_late_max_ms: timings.control_late_max_ms,
    detect_ms: timings.detect_ms,
    recover_ms: timings.recover_ms,
    lost_steps: timings.lost_steps,
    ...costOf(events, kept),
  };
  return { measures: present(measures), pauses, output_waits_ms };
}

/** When the migration was over by its own word: stock's `completed`, the agents' handoff. What is tidied up after it does not count. */
function wholeAfter_ms(events: readonly TimelineEvent[]): number | undefined {
  const asked = events.find((event) => event.kind === "run.phase" && event.phase === "migrate");
  const whole = events.find(isWhole);
  return asked === undefined || whole === undefined ? undefined : Math.round(whole.at_ms - asked.at_ms);
}

function isWhole(event: TimelineEvent): boolean {
  return event.kind === "handoff" || (event.kind === "migration.step" && event.step === "completed");
}

/** Of the first migration. The source's QEMU stops once for it, the target's has not run before. */
function switchoverOf(events: readonly TimelineEvent[]): number | undefined {
  const stamps = (lane: "source" | "target", what: "STOP" | "RESUME"): readonly number[] =>
    events.flatMap((event) =>
      event.kind === "qmp.event" && event.lane === lane && event.event === what ? (event.qemu_ms ?? []) : [],
    );
  const resumed_ms = Math.min(...stamps("target", "RESUME"));
  // Transactions of a VM that is protected stop it before: the last one counts.
  const stopped_ms = Math.max(...stamps("source", "STOP").filter((stopped_ms) => stopped_ms <= resumed_ms));
  const took_ms = resumed_ms - stopped_ms;
  return Number.isFinite(took_ms) ? round(took_ms, 1) : undefined;
}

function postcopyOf(events: readonly TimelineEvent[]): number | undefined {
  const runs = events.find((event) => event.kind === "migration.step" && event.step === "target-running");
  const whole = events.find(isWhole);
  return runs === undefined || whole === undefined || whole.at_ms < runs.at_ms
    ? undefined
    : round(whole.at_ms - runs.at_ms, 1);
}

/**
 * How long output waited on the target while it was protected: before switchover and after handoff whatever comes goes
 * out at once, and there is far more of it.
 */
function heldBack(events: readonly TimelineEvent[]): readonly number[] {
  const over_ms = events.find(({ kind }) => kind === "handoff")?.at_ms ?? Number.POSITIVE_INFINITY;
  return events.flatMap((event) => (event.at_ms <= over_ms ? waitOf(event, "target") : []));
}

function waitOf(event: TimelineEvent, host: "source" | "target"): readonly number[] {
  return event.kind === "gate.released" && event.lane === host ? [event.waited_ms] : [];
}

/** From when a VM that never migrates is protected until something breaks; undefined where there is no such time. */
interface Time {
  readonly from_ms: number;
  readonly to_ms: number;
}

function protectedTime(events: readonly TimelineEvent[]): Time | undefined {
  const switched = events.some((event) => event.kind === "migration.step" && event.step === "switchover");
  const on = events.find((event) => event.kind === "protection" && event.state === "on" && event.lane === "source");
  const broken = events.find(({ kind }) => kind === "fault.injected");
  if (switched || on === undefined || broken === undefined) return undefined;
  return { from_ms: on.at_ms, to_ms: broken.at_ms };
}

function within(events: readonly TimelineEvent[], { from_ms, to_ms }: Time): readonly TimelineEvent[] {
  return events.filter(({ at_ms }) => at_ms >= from_ms && at_ms <= to_ms);
}

/** What protection costs a guest: compared with itself, as it was looked at before anything was asked. */
function costOf(
  events: readonly TimelineEvent[],
  kept: Time | undefined,
): Record<"free_steps_per_s" | "protected_steps_per_s" | "protected_share" | "log_bytes_per_s", number | undefined> {
  const none = undefined;
  if (kept === undefined)
    return { free_steps_per_s: none, protected_steps_per_s: none, protected_share: none, log_bytes_per_s: none };
  const asked_ms = events.find((event) => event.kind === "run.phase" && event.phase === "migrate")?.at_ms ?? 0;
  const free_steps_per_s = rateOn("source", within(events, { from_ms: 0, to_ms: asked_ms }));
  const during = within(events, kept);
  const protected_steps_per_s = rateOn("source", during);
  const stored = during.reduce((sum, event) => sum + (event.kind === "tx.stored" ? event.bytes : 0), 0);
  const seconds = (kept.to_ms - kept.from_ms) / 1000;
  return {
    free_steps_per_s,
    protected_steps_per_s,
    protected_share:
      free_steps_per_s && protected_steps_per_s !== undefined
        ? round(protected_steps_per_s / free_steps_per_s, 3)
        : undefined,
    log_bytes_per_s: seconds > 0 ? Math.round(stored / seconds) : undefined,
  };
}

function pauseOf(event: Extract<TimelineEvent, { readonly kind: "tx.taken" }>): Pause {
  const { still_ms, cont_ms, stop_ms, device_ms, find_ms, copy_ms, pause_ms } = event;
  return {
    still_ms: still_ms ?? pause_ms,
    stamped: still_ms !== undefined,
    stop_ms,
    device_ms,
    find_copy_ms: round(find_ms + copy_ms, 3),
    ...(cont_ms === undefined ? {} : { cont_ms }),
  };
}

function percentiles<Name extends string>(
  name: Name,
  values: readonly number[],
): Record<`${Name}_p50_ms` | `${Name}_p99_ms`, number | undefined> {
  const at = (share: number): number | undefined => {
    const value = quantileOf(values, share);
    return value === undefined ? undefined : round(value, 3);
  };
  return { [`${name}_p50_ms`]: at(0.5), [`${name}_p99_ms`]: at(0.99) } as Record<
    `${Name}_p50_ms` | `${Name}_p99_ms`,
    number | undefined
  >;
}

/** The last word of each host, summed. A host that died has used what it was last seen to have. */
function usageIn(events: readonly TimelineEvent[]): { wire_bytes?: number; agents_cpu_ms?: number } {
  const last = new Map<string, Extract<TimelineEvent, { readonly kind: "host.usage" }>>();
  for (const event of events) if (event.kind === "host.usage") last.set(event.lane, event);
  if (last.size === 0) return {};
  const all = [...last.values()];
  const cpu = all.flatMap(({ agent_cpu_ms }) => agent_cpu_ms ?? []);
  return {
    wire_bytes: all.reduce((sum, { sent_bytes }) => sum + sent_bytes, 0),
    ...(cpu.length === 0 ? {} : { agents_cpu_ms: cpu.reduce((sum, ms) => sum + ms, 0) }),
  };
}

/** Looks closer together than this say little about a rate: they are 50 ms apart, and a busy machine delays each. */
const RATE_OVER_MS = 200;

/** Between the first and the last look at the guest on the target, until its protection ends or it was settled. */
function stepsPerSecond(events: readonly TimelineEvent[]): number | undefined {
  const over_ms =
    events.find(({ kind }) => kind === "handoff" || kind === "run.settled")?.at_ms ?? Number.POSITIVE_INFINITY;
  return rateOn(
    "target",
    events.filter(({ at_ms }) => at_ms <= over_ms),
  );
}

/** By what was seen in its memory: what it tells the world is held back. */
function rateOn(host: "source" | "target", events: readonly TimelineEvent[]): number | undefined {
  const looks = events.flatMap((event) =>
    event.kind === "guest.progress" && event.host === host && event.outside !== true ? [event] : [],
  );
  const [first, last] = [looks[0], looks.at(-1)];
  if (first === undefined || last === undefined || last.at_ms - first.at_ms < RATE_OVER_MS) return undefined;
  return round(((last.step - first.step) / (last.at_ms - first.at_ms)) * 1000, 1);
}

/** The guest is on the target from here on, and until then it is being carried over. */
function carried(events: readonly TimelineEvent[]): { readonly from_ms: number; readonly to_ms: number } | undefined {
  const from = events.find((event) => event.kind === "migration.step" && event.step === "target-running");
  const to = events.find(({ kind }) => kind === "handoff" || kind === "run.settled");
  return from === undefined ? undefined : { from_ms: from.at_ms, to_ms: to?.at_ms ?? Number.POSITIVE_INFINITY };
}

/** As the Linux guest tells twice a second on its console (fixtures/guests/linux/README.md). */
const STEP_LINE = /FERRYMAN-LINUX step .*\bdisk=(\d+)/;

function diskRecordsPerSecond(events: readonly TimelineEvent[]): number | undefined {
  const while_ms = carried(events);
  if (while_ms === undefined) return undefined;
  const told = events.flatMap((event) => {
    if (event.kind !== "guest.log" || event.host !== "target") return [];
    if (event.at_ms < while_ms.from_ms || event.at_ms > while_ms.to_ms) return [];
    const [, records] = STEP_LINE.exec(event.line) ?? [];
    return records === undefined ? [] : [{ at_ms: event.at_ms, records: Number(records) }];
  });
  const [first, last] = [told[0], told.at(-1)];
  if (first === undefined || last === undefined || last.at_ms - first.at_ms < RATE_OVER_MS) return undefined;
  if (last.records === 0) return undefined;
  return round(((last.records - first.records) / (last.at_ms - first.at_ms)) * 1000, 1);
}

function answersWhileCarried(
  { started_at }: Pick<RunRecord, "started_at">,
  events: readonly TimelineEvent[],
  network: Pick<NetworkFindings, "operations"> | undefined,
): readonly number[] {
  const while_ms = carried(events);
  if (while_ms === undefined || network === undefined) return [];
  // The client has the machine's clock; the timeline begins when the run does.
  const began_ms = Date.parse(started_at);
  return network.operations.flatMap(([, asked_ms, answered_ms]) => {
    const at_ms = asked_ms - began_ms;
    return answered_ms < 0 || at_ms < while_ms.from_ms || at_ms > while_ms.to_ms ? [] : [answered_ms - asked_ms];
  });
}

function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}

function present(measures: { [M in Measure]: number | undefined }): Measures {
  return Object.fromEntries(Object.entries(measures).filter(([, value]) => value !== undefined));
}
