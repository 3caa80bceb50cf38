import type { HostRole } from "../base/timeline.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { type StepName, stepOf } from "../run/steps.ts";
import { goesAhead, type TxsyncSettings } from "../run/txsync/settings.ts";
import { Random } from "../txsync/sim/random.ts";
import { type CellFilter, canStrike, globOf, modelled, planOf } from "./cells.ts";
import type { Coverage } from "./coverage.ts";
import { type Job, type Setting, worldOf } from "./job.ts";
import { reachableSteps, wayTo } from "./reach.ts";
import { type Deed, repertoire } from "./repertoire.ts";

/** So many schedules are drawn from a seed; the one that promises most of what was not seen yet is run. */
const CANDIDATES = 6;

/**
 * The job of a seed: of what is to be had of settings, and what is drawn, the candidate that coverage makes most new.
 * The seed alone gives the candidates; which of them was run stands in its name.
 */
export function drawJob(seed: number, settings: readonly Setting[], coverage: Coverage, filter: CellFilter = {}): Job {
  const candidates = Array.from({ length: CANDIDATES }, (_, nth) => candidate(seed, nth, settings, filter));
  return candidates.reduce((best, other) =>
    coverage.novelty(other.scenario, other.recovery) > coverage.novelty(best.scenario, best.recovery) ? other : best,
  );
}

/** The nth schedule of a seed: a pure function of both. */
export function candidate(seed: number, nth: number, settings: readonly Setting[], filter: CellFilter = {}): Job {
  const random = new Random(seed * CANDIDATES + nth + 1);
  const drawn = random.pick(settings);
  const setting: Setting =
    drawn.recovery === "txsync"
      ? { ...drawn, txsync: { ...drawSettings(random, drawn.txsync), ...drawn.txsync } }
      : drawn;
  const plans = drawPlans(random, setting, filter);
  const scenario = modelled(
    {
      id: `seed-${seed}-${nth}`,
      group: "explored",
      title: `drawn from seed ${seed}: ${plans.map(({ fault }) => fault.fault).join(", then ")}`,
      plans,
      recovery: setting.recovery,
    },
    worldOf(setting),
  );
  // The guest's memory is of the seed too: one number says all.
  return { ...setting, key: `seed ${seed}`, scenario, seed: random.uint32() };
}

/** Mostly as it is by itself: what is different has to be worth a look. @param asked what is not drawn */
function drawSettings(random: Random, asked: Partial<TxsyncSettings>): Partial<TxsyncSettings> {
  const drawn: Partial<TxsyncSettings> = {
    ...(random.chance(0.2) ? { protect: "always" as const } : {}),
    ...(random.chance(0.15) ? { durability: "host" as const } : {}),
    ...(random.chance(0.15) ? { unprotected: "hold" as const } : {}),
    ...(random.chance(0.15) ? { find: "sure" as const } : {}),
    ...(random.chance(0.15) ? { lease_ms: 1_000, heartbeat_ms: 200 } : {}),
  };
  const by_qemu = random.chance(0.2);
  const before = random.chance(0.25);
  // One that is protected before it migrates changes hosts by the agents.
  if (asked.protect_before ?? (before && asked.switchover_by !== "qemu")) return { ...drawn, protect_before: true };
  return by_qemu ? { ...drawn, switchover_by: "qemu" } : drawn;
}

function drawPlans(
  random: Random,
  { recovery, manager, txsync }: Setting,
  { steps, faults }: CellFilter,
): readonly FaultPlan[] {
  const wanted = (name: string, globs: readonly string[] | undefined): boolean =>
    globs === undefined || globs.some((glob) => globOf(glob).test(name));
  const known = reachableSteps(recovery, manager).filter((step) => wanted(step, steps));
  const deeds = repertoire(recovery, manager).filter(({ name }) => wanted(name, faults));
  const count = random.pick([1, 2, 2, 2, 3, 3]);
  const step = random.pick(known);
  const way = wayTo(step, recovery, manager, txsync);
  const plans: FaultPlan[] = [];
  // By a step that comes only where something broke: during the repair. Else from a moment that always comes.
  if (way !== undefined && way.before.length < count) {
    plans.push(...way.before);
    addDeed(way.at);
  }
  for (let turn = 0; plans.length < count && turn < 8; turn += 1) addDeed(nextMoment());
  return plans;

  function addDeed(at: Trigger): void {
    const able = deeds.filter((deed) => canStrike(deed, plans) && isWrittenAfter(at, deed));
    if (able.length === 0) return;
    const plan = planOf(random.pick(able), at, plans.length);
    plans.push(plan);
  }

  function nextMoment(): Trigger {
    const last = plans.length - 1;
    const before = plans[last];
    if (before === undefined) return drawMoment(random, known, recovery, txsync);
    const after = (most_ms: number): { after_ms?: number } =>
      random.chance(0.3) ? {} : { after_ms: random.int(1, most_ms) };
    if (before.heal !== undefined && random.chance(0.3)) return { on: "healed", index: last, ...after(2_500) };
    // During whatever the last fault set going; a repair's steps, where they are of what may come of it.
    const repairs = known.filter((name) => mayCome(name, plans, txsync) && !isPast(name, plans));
    if (repairs.length > 0 && random.chance(0.4)) return { on: "step", step: random.pick(repairs), since: last };
    return { on: "fault", index: last, ...after(3_000) };
  }
}

/** Promises are written in votes only: a disk that fails at another moment may be asked for nothing until it is well again. */
const BEFORE_PROMISES: readonly StepName[] = ["vote-pre-asked", "vote-pre-promised", "vote-asked"];

function isWrittenAfter(at: Trigger, { fault }: Deed): boolean {
  if (fault.fault !== "io-error" || fault.what !== "promises") return true;
  return at.on === "step" && BEFORE_PROMISES.includes(at.step);
}

/** What one repair, or one end of a migration, comes to in this order, and once. */
const IN_ORDER: readonly (readonly StepName[])[] = [
  [
    "vote-pre-asked",
    "vote-pre-promised",
    "restore-started",
    "restore-made",
    "restore-verified",
    "restore-finished",
    "restore-running",
  ],
  ["pages-rerouted", "takeover", "takeover-served"],
  ["ownership-asked", "ownership-promised", "handoff", "completed"],
];

/** Whether a fault before came at that step or a later one: it comes again only where the VM was struck once more. */
function isPast(step: StepName, plans: readonly FaultPlan[]): boolean {
  const last = plans.at(-1);
  if (last !== undefined && strikesVm(last)) return false;
  const order = IN_ORDER.find((steps) => steps.includes(step));
  if (order === undefined) return false;
  return plans.some(({ at }) => at.on === "step" && order.indexOf(at.step) >= order.indexOf(step));
}

/** Its VM, where that host has one. */
function strikesVm({ fault }: FaultPlan): boolean {
  if (fault.fault === "kill-host" || fault.fault === "detach-host" || fault.fault === "freeze-host") return true;
  return fault.fault === "kill-process" && fault.process === "qemu";
}

/** Whether what was broken so far may bring a step: what cannot come is waited for in vain, and shows nothing. */
function mayCome(
  step: StepName,
  plans: readonly FaultPlan[],
  { protect_before, protect }: Partial<TxsyncSettings>,
): boolean {
  const hit = (role: HostRole): boolean =>
    plans.some((plan) => strikesVm(plan) && "host" in plan.fault && plan.fault.host === role);
  // A protected VM whose host is lost before switchover is restored, and is on its way no more.
  const stays = protect_before === true && hit("source") && goesAhead(plans, true);
  // Whoever was succeeded learns of it when it is heard again.
  if (step === "generation-closed")
    return (
      plans.some(({ fault, heal }) => "host" in fault && fault.host === "target" && heal !== undefined) && hit("target")
    );
  switch (stepOf(step).part) {
    case "restore":
      return hit("target") || stays;
    case "takeover":
      return hit("source") && !hit("target") && !stays;
    case "vote":
      // Of a step that comes to a migration's end too something is to be had whatever happened.
      if (step.startsWith("ownership") && protect === "always") return hit("target") || stays;
      return hit("target") || hit("escrow") || step.startsWith("ownership");
    case "handoff":
      return !hit("target") && !stays;
    default:
      return false;
  }
}

function drawMoment(
  random: Random,
  known: readonly Parameters<typeof wayTo>[0][],
  recovery: Setting["recovery"],
  txsync: Partial<TxsyncSettings>,
): Trigger {
  const plain = known.filter((step) => wayTo(step, recovery, undefined, txsync)?.before.length === 0);
  // Where memory goes ahead to the target hardly any page is asked for.
  const asks = txsync.protect_before === true ? [] : ["requests"];
  const kinds = ["pages", "pages", ...asks, "step", "step", ...(recovery === "txsync" ? ["transactions"] : [])];
  const later = random.chance(0.3) ? { after_ms: random.int(1, 400) } : {};
  switch (random.pick(kinds)) {
    case "requests":
      return { on: "requests", count: random.int(1, 200), ...later };
    case "transactions":
      return { on: "transactions", count: random.int(1, 8), ...later };
    case "step":
      if (plain.length > 0) return { on: "step", step: random.pick(plain), ...later };
      return { on: "pages", percent: random.int(1, 95), ...later };
    default:
      return { on: "pages", percent: random.int(1, 95), ...later };
  }
}
