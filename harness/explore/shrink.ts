import type { Verdict } from "../base/timeline.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { expectingByModel, type Job } from "./job.ts";

/** What a run of a job came to, as far as shrinking asks. */
export interface Came {
  readonly verdict: Verdict;
  readonly as_expected: boolean;
}

export interface Shrunk {
  /** The smallest that still fails. */
  readonly job: Job;
  /** Of so many runs of it so many failed in the same way. */
  readonly failed: number;
  readonly runs: number;
  /** Runs that it took in all. */
  readonly spent: number;
  /** What was taken away, in words, in the order in which it was. */
  readonly steps: readonly string[];
}

export interface ShrinkLimits {
  /** Runs in all; then the smallest so far has to do. */
  readonly runs_max: number;
  /** A candidate of which no run of so many fails does not fail; more where the failure is rare. */
  readonly tries_min: number;
  readonly tries_max: number;
}

export const SHRINK: ShrinkLimits = { runs_max: 60, tries_min: 3, tries_max: 10 };
/** A failure is missed by chance in so few of 100 candidates at most. */
const MISSED = 0.05;

/**
 * Makes what failed smaller: fewer faults, simpler moments, plainer settings, each of them run often enough to tell a
 * failure that is gone from one that did not show. What is kept fails in the same way: the same verdict, against the model.
 * @param found how the failing run came out
 * @param run makes one run of a job
 */
export async function shrink(
  failing: Job,
  found: Came,
  run: (job: Job) => Promise<Came | undefined>,
  limits: ShrinkLimits = SHRINK,
): Promise<Shrunk> {
  const state = { spent: 0 };
  const failsAlike = ({ verdict, as_expected }: Came): boolean => !as_expected && verdict === found.verdict;
  const attempt = async (job: Job, tries: number, enough: boolean): Promise<{ failed: number; runs: number }> => {
    let [failed, runs] = [0, 0];
    while (runs < tries && state.spent < limits.runs_max) {
      const came = await run(job);
      if (came === undefined) break;
      state.spent += 1;
      runs += 1;
      if (failsAlike(came)) failed += 1;
      // One failure shows that the candidate fails; how often is counted of what is left in the end.
      if (enough && failed > 0) break;
    }
    return { failed, runs };
  };
  // Again as it was: how often it fails says how often others have to be tried.
  const first = await attempt(failing, limits.tries_min, false);
  let rate = (first.failed + 1) / (first.runs + 1);
  let smallest = failing;
  const steps: string[] = [];
  const seen = new Set([sketch(failing)]);
  // What never showed again is a matter of chance: nothing can be told of what is taken away from it.
  let going = first.failed > 0;
  while (going && state.spent < limits.runs_max) {
    going = false;
    for (const { job, what } of smallerThan(smallest)) {
      const key = sketch(job);
      if (seen.has(key)) continue;
      seen.add(key);
      const { failed } = await attempt(job, triesFor(rate, limits), true);
      if (failed === 0) continue;
      smallest = job;
      steps.push(what);
      going = true;
      break;
    }
  }
  if (smallest === failing)
    return { job: failing, failed: first.failed + 1, runs: first.runs + 1, spent: state.spent, steps };
  const last = await attempt(smallest, limits.tries_min, false);
  rate = last.failed;
  // The run by which it was taken for smaller counts too.
  return { job: smallest, failed: rate + 1, runs: last.runs + 1, spent: state.spent, steps };
}

/** Enough that a failure at this rate is missed by all of them in 1 of 20 candidates at most. */
export function triesFor(rate: number, { tries_min, tries_max }: ShrinkLimits): number {
  if (rate >= 1) return tries_min;
  return Math.min(tries_max, Math.max(tries_min, Math.ceil(Math.log(MISSED) / Math.log(1 - rate))));
}

function sketch({ scenario, manager, txsync, qemus, guest, memory_mib }: Job): string {
  return JSON.stringify([scenario.faults, manager, txsync, qemus, guest, memory_mib]);
}

interface Smaller {
  readonly job: Job;
  readonly what: string;
}

/** Every job that is one step simpler, those that save most first. */
export function smallerThan(job: Job): readonly Smaller[] {
  const { scenario, txsync, qemus, guest } = job;
  const { faults } = scenario;
  const withFaults = (plans: readonly FaultPlan[]): Job =>
    expectingByModel({ ...job, scenario: { ...scenario, faults: plans, title: `${scenario.title}, made smaller` } });
  const found: Smaller[] = [];
  for (const [index, { fault }] of faults.entries()) {
    const plans = without(faults, index);
    if (plans !== undefined && plans.length > 0) found.push({ job: withFaults(plans), what: `without ${fault.fault}` });
  }
  if (Object.keys(txsync).length > 0)
    found.push({ job: expectingByModel({ ...job, txsync: {} }), what: "with usual settings" });
  for (const name of Object.keys(txsync)) {
    const { [name as keyof typeof txsync]: _, ...rest } = txsync;
    found.push({ job: expectingByModel({ ...job, txsync: rest }), what: `without ${name}` });
  }
  if (qemus.source !== qemus.target)
    for (const side of ["source", "target"] as const)
      found.push({
        job: expectingByModel({ ...job, qemus: { source: qemus[side], target: qemus[side] } }),
        what: `with the ${side}'s QEMU on both sides`,
      });
  if (job.manager !== undefined && job.manager !== "qmp" && !faults.some(({ fault }) => needsLibvirt(fault)))
    found.push({ job: expectingByModel({ ...job, manager: "qmp" }), what: "with the manager qmp" });
  if (guest !== "integrity") found.push({ job: { ...job, guest: "integrity" }, what: "with the integrity guest" });
  for (const [index, plan] of faults.entries()) {
    for (const { at, what } of simplerMoments(plan.at))
      found.push({ job: withFaults(faults.with(index, { ...plan, at })), what: `fault ${index} ${what}` });
    if (plan.heal !== undefined && !isWaitedFor(faults, index)) {
      const { heal: _, ...forGood } = plan;
      if (plan.fault.fault !== "kill-process")
        found.push({ job: withFaults(faults.with(index, forGood)), what: `fault ${index} for good` });
    }
  }
  return found;
}

/** Without libvirt there is nothing that it could strike. */
function needsLibvirt(fault: FaultPlan["fault"]): boolean {
  return fault.fault === "kill-manager" || ("link" in fault && fault.link === "libvirt");
}

function simplerMoments(at: Trigger): readonly { readonly at: Trigger; readonly what: string }[] {
  const simpler: { at: Trigger; what: string }[] = [];
  if (at.after_ms !== undefined) {
    const { after_ms: _, ...plain } = at;
    simpler.push({ at: plain, what: "at once" });
  }
  const usual: Trigger = { on: "pages", percent: 30 };
  const [isUsual, follows] = [
    at.on === "pages" && at.percent === 30 && at.after_ms === undefined,
    at.on === "fault" || at.on === "healed" || (at.on === "step" && at.since !== undefined),
  ];
  if (!isUsual && !follows) simpler.push({ at: usual, what: "at 30 % of pages" });
  return simpler;
}

function isWaitedFor(faults: readonly FaultPlan[], index: number): boolean {
  return faults.some(({ at, heal }) => [at, heal].some((when) => when?.on === "healed" && when.index === index));
}

/** The faults without one of them; those that waited for it wait for what it waited for. Undefined where that cannot be. */
export function without(faults: readonly FaultPlan[], gone: number): readonly FaultPlan[] | undefined {
  const removed = faults[gone];
  if (removed === undefined) return undefined;
  const moved = (index: number): number => (index > gone ? index - 1 : index);
  const move = (when: Trigger): Trigger | undefined => {
    if (when.on === "fault" || when.on === "healed") {
      if (when.index !== gone) return { ...when, index: moved(when.index) };
      return move(removed.at);
    }
    if (when.on !== "step" || when.since === undefined) return when;
    if (when.since !== gone) return { ...when, since: moved(when.since) };
    const { since: _, ...plain } = when;
    return plain;
  };
  const rest: FaultPlan[] = [];
  for (const [index, { fault, at, heal }] of faults.entries()) {
    if (index === gone) continue;
    const when = move(at);
    if (when === undefined || waitsForItself(when, rest.length)) return undefined;
    const healing = heal === undefined ? undefined : move(heal);
    rest.push({ fault, at: when, ...(healing === undefined ? {} : { heal: healing }) });
  }
  return rest;
}

function waitsForItself(when: Trigger, index: number): boolean {
  return (when.on === "fault" || when.on === "healed") && when.index === index;
}
