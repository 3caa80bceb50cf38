import type { Rules } from "../core/index.ts";
import type { Model } from "./model.ts";
import { type Schedule, scheduleOf } from "./schedule.ts";
import { type Outcome, playWorld } from "./world.ts";

/** What many schedules showed together. */
export interface Summary {
  readonly schedules: number;
  readonly events: number;
  readonly elapsed_ms: number;
  /** Time of this process on a core: the machine may be shared. */
  readonly cpu_ms: number;
  /** Distinct combinations of the three agents' states, without numbers and times. */
  readonly states: number;
  /** Distinct sequences of generations opened and page routes taken, with how often each was seen. */
  readonly paths: ReadonlyMap<string, number>;
  /** Schedules in which the VM had to run again, and did. */
  readonly recovered: number;
  /** Schedules in which its loss was allowed, and happened. */
  readonly lost: number;
  readonly failures: readonly { readonly seed: number; readonly what: string }[];
}

/** What is not as it is in production. */
export interface Mutation {
  readonly rules?: Rules;
  readonly model?: Model;
}

export interface PlayOptions extends Mutation {
  readonly from: number;
  readonly schedules: number;
  /** Makes another schedule of each, for example with given faults. */
  readonly shape?: (schedule: Schedule) => Schedule;
  /** Stop at so many failures, default 5. */
  readonly failures_max?: number;
  /** Stop when so much real time has passed, looked at every 256 schedules. */
  readonly elapsed_ms_max?: number;
}

/** Plays the schedules of the seeds from, from+1, ... */
export function play(options: PlayOptions): Summary {
  const began_ms = performance.now();
  const cpu = process.cpuUsage();
  const states = new Set<number>();
  const paths = new Map<string, number>();
  const failures: { seed: number; what: string }[] = [];
  let schedules = 0;
  let events = 0;
  let recovered = 0;
  let lost = 0;
  for (let seed = options.from; schedules < options.schedules; seed += 1) {
    if (schedules % 256 === 0 && performance.now() - began_ms > (options.elapsed_ms_max ?? Number.POSITIVE_INFINITY))
      break;
    const schedule = options.shape?.(scheduleOf(seed)) ?? scheduleOf(seed);
    const outcome = playOne(schedule, { ...mutated(options), states });
    schedules += 1;
    events += outcome.events;
    paths.set(outcome.path, (paths.get(outcome.path) ?? 0) + 1);
    if (outcome.violation !== null) {
      failures.push({ seed, what: outcome.violation.message });
      if (failures.length >= (options.failures_max ?? 5)) break;
    } else if (outcome.live) recovered += 1;
    else lost += 1;
  }
  return {
    schedules,
    events,
    elapsed_ms: performance.now() - began_ms,
    cpu_ms: cpuSince(cpu),
    states: states.size,
    paths,
    recovered,
    lost,
    failures,
  };
}

function cpuSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function mutated({ rules, model }: Mutation): Mutation {
  return { ...(rules ? { rules } : {}), ...(model ? { model } : {}) };
}

export function playOne(schedule: Schedule, how: Mutation & { readonly states?: Set<number> } = {}): Outcome {
  return playWorld(schedule, how);
}

/** The same schedule once more, told line by line. */
export function tell(schedule: Schedule, how: Mutation = {}): readonly string[] {
  return playWorld(schedule, { ...how, trace: true }).trace;
}

/** What to run to see a failure again. */
export function replayCommand(seed: number): string {
  return `npm run simulate -- --seed ${seed}`;
}

export function summaryLine(s: Summary): string {
  const perMinute = Math.round((s.schedules / s.cpu_ms) * 60_000);
  return (
    `${s.schedules} schedules in ${(s.elapsed_ms / 1000).toFixed(1)} s, ` +
    `${(s.cpu_ms / 1000).toFixed(1)} s of a core (${perMinute} a core minute), ${s.events} events, ` +
    `${s.states} distinct states, ${s.paths.size} recovery paths, ${s.recovered} recovered, ${s.lost} allowed losses, ` +
    `${s.failures.length} failures`
  );
}
