import { isLibvirt, type Manager } from "../base/configuration.ts";
import type { Accel, Recovery } from "../base/run-record.ts";
import { HOST_LINK_NAMES, HOST_ROLES, type HostRole, type LinkName, STORAGE, type Verdict } from "../base/timeline.ts";
import { type FaultSpec, isOwnFault } from "../faults/index.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { stepOf } from "../run/steps.ts";
import { goesAhead } from "../run/txsync/settings.ts";

/**
 * What may come of a schedule of faults: who survives, who can talk to whom, what was promised to the outside. It says
 * which verdicts are allowed and knows nothing of how the recovery is made: it was written from the tables of
 * txsync/PROTOCOL.md ("Who owns the VM", "Limits") and of QEMU's own promises, not from the code.
 *
 * When exactly a fault strikes is not known before a run. So the model goes through every way in which the run may have
 * got on between two faults (switched over or not, repaired or not, healed or not), and allows what comes out of any of
 * them. Of two hosts that live and can talk, and of what they have to restore from, follows whether the VM has to run
 * again at the end. Nothing allows `corrupt`, `rollback` or `split-brain` under txsync.
 */

/** Where the VM is on its way. */
export const PHASES = ["before", "package", "postcopy", "after"] as const;
export type Phase = (typeof PHASES)[number];

/** `away` comes back by itself or is healed; `gone` does not, and what it had in memory is gone with it. */
type Presence = "up" | "away" | "gone";

/** What the run's settings have to do with it. */
export interface ModelWorld {
  readonly recovery: Recovery;
  /** What drives a stock migration; absent: `qmp`. */
  readonly manager?: Manager;
  readonly accel: Accel;
  /** Major and minor of source's and target's QEMU, as 10.0; undefined for an image that is not known. */
  readonly qemus: readonly (number | undefined)[];
  readonly lease_ms: number;
  readonly base_ahead: number;
  readonly switchover_by: "agent" | "qemu";
  /** Under txsync: the VM is protected where it runs, and asked to migrate when that is on. */
  readonly protect_before: boolean;
  readonly protect: "until-handoff" | "always";
  readonly unprotected: "go" | "hold";
}

export const USUAL_WORLD: ModelWorld = {
  recovery: "txsync",
  accel: "tcg",
  qemus: [10, 10],
  lease_ms: 500,
  base_ahead: 0.75,
  switchover_by: "agent",
  protect_before: false,
  protect: "until-handoff",
  unprotected: "go",
};

export interface Allowed {
  /** The best first: what is hoped for. */
  readonly verdicts: readonly Verdict[];
  /** One sentence on the worst of them. */
  readonly why: string;
}

/**
 * With three quarters copied ahead the escrow has the rest by then: README, "The source's host may die once …". At 30 %,
 * where scenarios strike, a busy machine may not be so far (seen: a kill 1.9 s after switchover came before).
 */
const BASE_ELSEWHERE_PERCENT = 60;
/** So long after a healing protection is back, if it comes back: scenarios/network/escrow-link-blinks.ts. */
const SETTLED_MS = 2_000;
/** Until a fault that was triggered has struck, the run goes on. Post-copy of the smallest guest takes longer. */
const LATE_PERCENT = 60;
const LATE_MS = 300;
/** Those of a VM that is protected before it migrates are over before its migration is, an epoch each. */
const FIRST_TRANSACTIONS = 3;
/** The manager of stock QEMU gives recovery up after 4 s; a link has to be back well before. */
const STOCK_HEALED_MS = 2_500;
const FIRST_GOOD_RECOVERY = 8;
/** libvirt 11.3, which goes with these, loses the target's daemon when it is asked to resume. */
const LIBVIRT_CANNOT_RESUME = 10;

/** Every verdict that may come of a schedule. @param plans one to three faults; what no trigger brings never strikes */
export function allowedOf(plans: readonly FaultPlan[], world: ModelWorld): Allowed {
  return world.recovery === "stock" ? allowedOfStock(plans, world) : allowedOfTxsync(plans, world);
}

/* ---- when ---- */

export interface Window {
  readonly from: Phase;
  readonly to: Phase;
  /** What is known by then: a record is committed; others than the VM's host have the base; protection is back. */
  readonly committed?: boolean;
  readonly base?: boolean;
  readonly settled?: boolean;
}

/** In which phases a fault may strike that waits for this. @param first whether nothing was broken before */
export function windowOf(
  trigger: Trigger,
  plans: readonly FaultPlan[],
  world: ModelWorld,
  first = true,
  depth = 0,
): Window {
  const own = momentOf(trigger, plans, world, depth);
  const late = (trigger.after_ms ?? 0) > lateOf(trigger, own, plans, world);
  // Between the trigger and the deed the run goes on, and where something was broken before, nobody knows how far.
  const to = late || !first ? "after" : own.to;
  const settled = own.settled === true && (trigger.after_ms ?? 0) >= SETTLED_MS;
  // A restore asks for the same as a handoff does, and there is none where nothing was broken.
  const from = first && isHandoff(trigger) ? "postcopy" : own.from;
  // Later, or when something else was broken meanwhile, it may not be so any more.
  const certain = !isProtectedBefore(world) || first || trigger.after_ms === undefined;
  return { ...own, from, to, settled, ...(certain ? {} : { committed: false, base: false }) };
}

/** Post-copy is over in a moment where memory went ahead to the target. */
function lateOf(trigger: Trigger, { from }: Window, plans: readonly FaultPlan[], world: ModelWorld): number {
  const ends_soon = from !== "before" || (trigger.on === "step" && trigger.step === "switchover");
  return isProtectedBefore(world) && ends_soon && goesAhead(plans, true) ? 0 : LATE_MS;
}

function isHandoff(trigger: Trigger): boolean {
  return trigger.on === "step" && trigger.since === undefined && trigger.step.startsWith("ownership-");
}

function isProtectedBefore({ recovery, protect_before }: ModelWorld): boolean {
  return recovery === "txsync" && protect_before;
}

function momentOf(trigger: Trigger, plans: readonly FaultPlan[], world: ModelWorld, depth: number): Window {
  switch (trigger.on) {
    case "pages": {
      // Nothing goes ahead to the target where something waits for pages that come (run/txsync/settings.ts, goesAhead).
      const base = world.base_ahead >= 0.75 && trigger.percent >= BASE_ELSEWHERE_PERCENT;
      return { from: "postcopy", to: trigger.percent >= LATE_PERCENT ? "after" : "postcopy", base };
    }
    case "requests":
      return { from: "postcopy", to: "after" };
    case "bytes":
      return { from: "before", to: "after" };
    case "transactions":
      if (!isProtectedBefore(world)) return { from: "postcopy", to: "after", committed: true };
      return { from: "before", to: trigger.count > FIRST_TRANSACTIONS ? "after" : "postcopy", committed: true };
    case "fault":
    case "healed": {
      const other = plans[trigger.index];
      const from =
        other === undefined || depth > plans.length
          ? "before"
          : windowOf(other.at, plans, world, false, depth + 1).from;
      return { from, to: "after", settled: trigger.on === "healed" };
    }
    case "step": {
      const step = stepMoment(trigger, world);
      const since = trigger.since === undefined ? undefined : plans[trigger.since];
      if (since === undefined || depth > plans.length) return step;
      const { from } = windowOf(since.at, plans, world, false, depth + 1);
      return { ...step, from: later(step.from === "before" ? from : step.from, from), to: "after" };
    }
  }
}

function stepMoment({ step, by }: Extract<Trigger, { on: "step" }>, world: ModelWorld): Window {
  const { recovery } = world;
  const before = isProtectedBefore(world);
  // What comes again and again comes first when the VM is protected where it runs, and the migration takes its time from then on.
  const first: Window | undefined = before && by !== "target" ? { from: "before", to: "postcopy" } : undefined;
  switch (step) {
    case "setup":
    case "precopy":
    case "switchover":
      // One that is protected is asked to migrate when that is on, and until its last record there is stored it may stay.
      if (before) return { from: "before", to: "postcopy", committed: true };
      return { from: step === "switchover" ? "package" : "before", to: "postcopy" };
    case "target-running":
    case "postcopy-paused":
    case "recovering":
      return { from: "postcopy", to: "postcopy" };
    case "completing":
      return { from: "postcopy", to: "after" };
    case "completed":
      // The target's QEMU has all of it, and under txsync a vote is still to come.
      return { from: recovery === "stock" ? "after" : "postcopy", to: "after" };
    case "handoff":
      return { from: "after", to: "after" };
    case "failed":
    case "lease-lost":
    case "lease-regained":
    case "generation-closed":
      return { from: "before", to: "after" };
    case "record-stored":
      // The escrow has a base already, which a restore needs besides.
      return first === undefined ? { from: "postcopy", to: "after" } : { ...first, committed: true };
    case "transaction-committed":
    case "output-released":
    case "protection-on":
      return { ...(first ?? { from: "postcopy", to: "after" }), committed: true };
    case "protection-off":
      return { from: before ? "before" : "postcopy", to: "after" };
    default:
  }
  const { part } = stepOf(step);
  // Where it runs a VM's first transaction waits until the escrow has its base.
  if (part === "protection") return first === undefined ? { from: "postcopy", to: "after" } : { ...first, base: true };
  // Votes come in every migration, before it begins.
  if (part === "vote") return { from: "before", to: by === undefined ? "postcopy" : "after" };
  return { from: before && part === "restore" ? "before" : "package", to: "after" };
}

function later(a: Phase, b: Phase): Phase {
  return PHASES.indexOf(a) >= PHASES.indexOf(b) ? a : b;
}

/** Every order in which the faults may strike: one that waits for another comes after it. */
function ordersOf(plans: readonly FaultPlan[]): readonly (readonly number[])[] {
  const waitsFor = ({ at }: FaultPlan): number | undefined =>
    at.on === "step" ? at.since : at.on === "fault" || at.on === "healed" ? at.index : undefined;
  const grow = (order: readonly number[]): readonly (readonly number[])[] => {
    if (order.length === plans.length) return [order];
    return plans.flatMap((plan, index) => {
      const first = waitsFor(plan);
      if (order.includes(index) || (first !== undefined && !order.includes(first))) return [];
      // Nothing is repaired where nothing was broken.
      if (order.length === 0 && plans.length > 1 && isRepair(plan.at)) return [];
      return grow([...order, index]);
    });
  };
  return grow([]);
}

function isRepair(at: Trigger): boolean {
  return at.on === "step" && ["restore", "takeover"].includes(stepOf(at.step).part);
}

/* ---- txsync ---- */

interface State {
  readonly phase: Phase;
  readonly hosts: Readonly<Record<HostRole, Presence>>;
  readonly agents: Readonly<Record<HostRole, Presence>>;
  readonly links: Readonly<Record<string, Presence>>;
  /** Whose QEMU has the VM. In the phase `package` it is what the source's agent keeps and sends. */
  readonly vm: "source" | "target" | "none";
  /** Escrow and target together have all of the base; before the migration: the escrow has. */
  readonly base: boolean;
  /** The escrow's log: a VM that the outside has seen can be made from it; or not, for something went out besides. */
  readonly log: "good" | "void";
  /** Something was let out after switchover: the package alone is behind what the world has seen. */
  readonly promised: boolean;
  /** Before the migration: nobody may take the VM over, and it needs nobody's vote, for nothing protects it. */
  readonly free: boolean;
}

const BEGINNING: State = {
  phase: "before",
  hosts: { source: "up", target: "up", escrow: "up" },
  agents: { source: "up", target: "up", escrow: "up" },
  links: { "source-target": "up", "source-escrow": "up", "target-escrow": "up" },
  vm: "source",
  base: false,
  log: "good",
  promised: false,
  free: true,
};

/** It has no record yet, and its package will be no more than its last record is. */
const BEGINNING_PROTECTED: State = { ...BEGINNING, log: "void", promised: true };

function allowedOfTxsync(plans: readonly FaultPlan[], world: ModelWorld): Allowed {
  const outcomes = new Map<Verdict, string>();
  for (const order of ordersOf(plans)) {
    let states = spread([isProtectedBefore(world) ? BEGINNING_PROTECTED : BEGINNING], world);
    for (const [nth, index] of order.entries()) {
      const plan = plans[index];
      if (plan === undefined) continue;
      const window = windowOf(plan.at, plans, world, nth === 0);
      states = spread(
        states
          .filter((state) => fits(state, window))
          .flatMap((state) => strike(known(state, window, world), plan, world)),
        world,
      );
    }
    for (const state of states) {
      const { verdict, why } = end(state, world);
      if (!outcomes.has(verdict)) outcomes.set(verdict, why);
    }
  }
  return allowed(outcomes);
}

function allowed(outcomes: ReadonlyMap<Verdict, string>): Allowed {
  const order: readonly Verdict[] = ["intact", "lost", "rollback", "corrupt", "split-brain"];
  const verdicts = order.filter((verdict) => outcomes.has(verdict));
  const worst = verdicts.at(-1);
  // No way of it lets any fault strike: then nothing breaks.
  if (worst === undefined) return { verdicts: ["intact"], why: "no fault can strike like this" };
  return { verdicts, why: outcomes.get(worst) ?? "" };
}

function fits({ phase }: State, { from, to }: Window): boolean {
  const at = PHASES.indexOf(phase);
  return at >= PHASES.indexOf(from) && at <= PHASES.indexOf(to);
}

/** What the trigger tells of the moment. */
function known(state: State, { committed, base, settled }: Window, world: ModelWorld): State {
  const here = isHere(state, world);
  if (settled === true) {
    const back = healed(state);
    const owner = here ? "source" : "target";
    const log = back.hosts.escrow === "up" && talk(back, owner, "escrow") ? "good" : back.log;
    const free = back.free && !(here && log === "good");
    return { ...back, log, free, base: back.base || talk(back, "source", "escrow") };
  }
  if (here && committed === true && talk(state, "source", "escrow"))
    return { ...state, base: true, log: "good", free: false };
  return {
    ...state,
    base: state.base || (base === true && talk(state, "source", "escrow")),
    promised: state.promised || committed === true,
  };
}

/** Every state that may have come of these by the time of the next fault. */
function spread(states: readonly State[], world: ModelWorld): readonly State[] {
  const seen = new Map<string, State>();
  const waiting = [...states];
  for (let state = waiting.pop(); state !== undefined; state = waiting.pop()) {
    const key = JSON.stringify(state);
    if (seen.has(key)) continue;
    seen.set(key, state);
    waiting.push(...moves(state, world));
  }
  return [...seen.values()];
}

function talk({ hosts, agents, links }: State, a: HostRole, b: HostRole): boolean {
  const link = HOST_LINK_NAMES.find((name) => name === `${a}-${b}` || name === `${b}-${a}`);
  const up = [a, b].every((role) => hosts[role] === "up" && agents[role] === "up");
  return up && link !== undefined && links[link] === "up";
}

/** What the system or time may do next, each by itself. */
function moves(state: State, world: ModelWorld): readonly State[] {
  const { phase, vm, base, log, promised, free } = state;
  const next: State[] = [];
  const may = (when: boolean, change: Partial<State>): void => {
    if (when) next.push({ ...state, ...change });
  };
  may(hasAway(state), healed(state));
  const every = talk(state, "source", "target") && talk(state, "source", "escrow") && talk(state, "target", "escrow");
  const here = isHere(state, world);
  const stored = talk(state, "source", "escrow");
  may(here && !base && stored, { base: true });
  // From the vote on it is the escrow that counts; a record there is only a moment later.
  may(here && base && free && stored, { free: false });
  may(here && base && !free && log === "void" && stored, { log: "good" });
  const bare = here && !free && !stored && talk(state, "source", "target");
  may(bare && world.unprotected === "go", { free: true, log: "void" });
  const ready = !here || (base && !free && log === "good");
  may(phase === "before" && vm === "source" && every && ready, { phase: "package" });
  may(phase === "package" && vm === "source" && talk(state, "source", "target"), { phase: "postcopy", vm: "target" });
  may(phase !== "before" && !base && talk(state, "source", "escrow"), { base: true });
  const runs = phase === "postcopy" && vm === "target";
  may(runs && !promised && talk(state, "target", "escrow"), { promised: true });
  // The escrow is not heard: what leaves now is in no log, until protection has begun anew.
  const alone = runs && !talk(state, "target", "escrow") && talk(state, "target", "source");
  may(alone && world.unprotected === "go", { log: "void", promised: true });
  may(runs && log === "void" && talk(state, "target", "escrow"), { log: "good" });
  if (world.protect === "until-handoff")
    may(runs && hasAllPages(state) && isHeard(state, "target"), { phase: "after" });
  const restored = restoredOn(state, world);
  if (restored !== undefined) may(true, { phase: "after", vm: restored });
  return next;
}

/** The target has its pages, or can have them: of the source, by way of the escrow, or of the escrow itself. */
function hasAllPages(state: State): boolean {
  if (talk(state, "target", "source")) return true;
  return talk(state, "target", "escrow") && (state.base || talk(state, "escrow", "source"));
}

/** The VM is where it was before its migration, and somebody wants it to be protected there. */
function isHere({ phase, vm }: State, world: ModelWorld): boolean {
  return isProtectedBefore(world) && phase === "before" && vm === "source";
}

function isHeard(state: State, role: HostRole): boolean {
  return HOST_ROLES.some((other) => other !== role && talk(state, role, other));
}

/** Who may and can make the VM again: two that talk, with all that the outside was promised. */
function restoredOn(state: State, world: ModelWorld): "source" | "target" | undefined {
  const { phase, vm, base, log, promised, hosts } = state;
  if (phase === "after") return undefined;
  const before = isProtectedBefore(world);
  // The VM's first host is not heard by anybody: that what the escrow has is all of it follows from every record.
  const succeeded = before && !isHeard(state, "source") && base && log === "good" && talk(state, "target", "escrow");
  if (phase === "before") {
    if (succeeded) return "target";
    if (!before || vm !== "none" || !base || log !== "good") return undefined;
    return talk(state, "source", "escrow") ? "source" : talk(state, "target", "escrow") ? "target" : undefined;
  }
  const heard = isHeard(state, "target");
  // While the target may still take the package nobody takes the VM from it.
  if (vm === "source" && heard) return succeeded ? "target" : undefined;
  if (vm === "target" && heard && hasAllPages(state)) return undefined;
  const pair = talk(state, "source", "escrow");
  if (vm !== "target" || !heard) {
    if (pair && log === "good") return "source";
    // Nothing was ever let out: what the source kept is as good, and the target's agent says so.
    if (vm === "none" && !promised && talk(state, "source", "target")) return "source";
  }
  // The source is gone, or cannot reach the log that it would have to make the VM of.
  const others = (hosts.source !== "up" || !pair) && talk(state, "target", "escrow");
  if (vm === "none" && others && base && log === "good") return "target";
  return undefined;
}

function hasAway({ hosts, agents, links }: State): boolean {
  return [hosts, agents, links].some((all) => Object.values(all).includes("away"));
}

function healed(state: State): State {
  const back = <All extends Readonly<Record<string, Presence>>>(all: All): All =>
    Object.fromEntries(Object.entries(all).map(([name, is]) => [name, is === "away" ? "up" : is])) as All;
  return { ...state, hosts: back(state.hosts), agents: back(state.agents), links: back(state.links) };
}

/** Everything is healed that will be, and everybody has done what he can. */
function end(before: State, world: ModelWorld): { readonly verdict: Verdict; readonly why: string } {
  const state = healed(before);
  const { phase, vm, hosts } = state;
  const runs = vm !== "none" && hosts[vm] === "up";
  const intact = (why: string) => ({ verdict: "intact", why }) as const;
  const lost = (why: string) => ({ verdict: "lost", why }) as const;
  if (phase === "after")
    return runs ? intact(`the VM runs on ${vm}`) : lost("it died where nothing protected it any more");
  const restorable = restoredOn(state, world) !== undefined;
  if (phase === "before" && !isProtectedBefore(world))
    return runs ? intact("it never left its source") : lost("it died before switchover, and any VM does with its host");
  if (phase === "before" && runs && (state.free || isHeard(state, "source"))) return intact("it never left its source");
  if (phase === "before" && !runs && !restorable && state.log === "void")
    return lost("it died before its protection was on, or while it was off");
  if (phase === "package" && runs && !restorable) {
    return isHeard(state, "source")
      ? intact("it goes on from its package, or arrives")
      : lost("the source alone may not say whose the VM is");
  }
  if (vm === "target" && runs && hasAllPages(state) && isHeard(state, "target")) return intact("the target has it");
  if (restorable) return intact("two that talk have all that is needed to restore it");
  return lost(
    runs
      ? "it lacks pages that nobody can give it, or a vote, and nobody may take it over"
      : "no two hosts are left that talk and have all that the outside was promised",
  );
}

/* ---- what a fault does ---- */

function strike(state: State, plan: FaultPlan, world: ModelWorld): readonly State[] {
  const { fault } = plan;
  // Of what nobody here knows nothing can be said; explorations draw none.
  if (isOwnFault(fault)) return [state];
  const lasts_ms = plan.heal === undefined ? undefined : durationOf(plan);
  // Shorter than anybody notices.
  if (lasts_ms !== undefined && lasts_ms < world.lease_ms / 2) return [state];
  const how: Presence = plan.heal === undefined ? "gone" : "away";
  switch (fault.fault) {
    case "kill-host":
      return [hostGone(state, fault.host)];
    case "freeze-host":
      if (how === "gone") return [hostGone(state, fault.host)];
      return [{ ...state, hosts: set(state.hosts, fault.host, how) }];
    case "detach-host":
      return [linksOf(fault.host).reduce((cut, link) => linkCut(cut, link, how), state)];
    case "kill-process":
      if (fault.process === "qemu") return qemuGone(state, fault.host);
      // Its agent starts another one, and the guest waits meanwhile.
      if (fault.process === "disks") return [state];
      // Its supervisor starts it again, if it may.
      return [{ ...state, agents: set(state.agents, fault.host, fault.stays_away === true ? how : "away") }];
    case "freeze-process":
      if (fault.process === "agent") return [{ ...state, agents: set(state.agents, fault.host, how) }];
      // Its agent cannot go on with it; for good, it is as dead.
      return how === "gone"
        ? qemuGone(state, fault.host)
        : [state, { ...state, agents: set(state.agents, fault.host, how) }];
    case "cut-reset":
    case "cut-silent":
      return [linkCut(state, fault.link, fault.connection === undefined ? how : "away")];
    case "latency":
    case "bandwidth":
    case "slice":
    case "byte-limit":
      // Whoever is slow may be taken for gone for a while.
      return [state, linkCut(state, fault.link, "away")];
    case "cpu-pressure":
      return [state, { ...state, agents: { source: "away", target: "away", escrow: "away" } }];
    case "clock-step":
      // By a wrong clock a lease may run out that has not: that costs time.
      return [state, { ...state, agents: set(state.agents, fault.host, "away") }];
    case "fill":
      // A guest whose disks take nothing waits; explorations have none.
      if (fault.host === STORAGE) return [state];
      return [
        { ...state, agents: set(state.agents, fault.host, how) },
        // Its memory lies where there is no room.
        ...(fault.what === "shm" ? qemuGone(state, fault.host) : []),
      ];
    case "deny-writes":
    case "io-error":
      return [{ ...state, agents: set(state.agents, fault.host, how) }];
    case "replace-host":
      // Until another one has the place, which takes an operator, it is as one that died.
      return [hostGone(state, fault.host)];
    case "kill-storage":
      // A guest whose disks are away waits; explorations have none.
      return [state];
    case "kill-manager":
      // Only libvirt has one, and the VM does not go through it.
      return [state];
    case "qmp":
      // Asked to stop a VM, who knows whether it runs.
      return fault.command.startsWith("query-") ? [state] : [state, ...qemuGone(state, fault.host)];
  }
}

/** How long it lasts: healing at a step takes as long as it takes. */
function durationOf({ heal }: FaultPlan): number {
  return heal?.on === "fault" ? (heal.after_ms ?? 0) : Number.POSITIVE_INFINITY;
}

/** Which one is on a host does not matter to whom it hits when nobody has it any more. */
function hostGone(state: State, role: HostRole): State {
  const left = { ...state, hosts: set(state.hosts, role, "gone"), agents: set(state.agents, role, "gone") };
  const vm = left.vm === role ? "none" : left.vm;
  if (role === "escrow") return { ...left, vm, log: state.promised ? "void" : left.log, base: false };
  return { ...left, vm };
}

function qemuGone(state: State, role: HostRole): readonly State[] {
  const { phase, vm } = state;
  const dead: State = { ...state, vm: "none" };
  // While the package is on its way it depends on a moment whether the agent has all of it.
  if (role === "source" && phase === "package" && vm === "source") return [state, { ...dead, phase: "before" }];
  // One that waits for the VM: the agent starts another, or the attempt is given up.
  return vm === role ? [dead] : [state];
}

function linksOf(role: HostRole): readonly (typeof HOST_LINK_NAMES)[number][] {
  return HOST_LINK_NAMES.filter((link) => link.split("-").includes(role));
}

function linkCut(state: State, link: LinkName, how: Presence): State {
  return { ...state, links: set(state.links, link, how) };
}

/** What is gone stays gone. */
function set<Key extends string>(
  all: Readonly<Record<Key, Presence>>,
  key: Key,
  is: Presence,
): Readonly<Record<Key, Presence>> {
  return all[key] === "gone" ? all : { ...all, [key]: is };
}

/* ---- stock ---- */

/** QEMU's own promises: before switchover the source is the VM; after it each side is needed; a link may come back. */
function allowedOfStock(plans: readonly FaultPlan[], world: ModelWorld): Allowed {
  const outcomes = new Map<Verdict, string>();
  const may = (verdict: Verdict, why: string): void => {
    if (!outcomes.has(verdict)) outcomes.set(verdict, why);
  };
  const { manager = "qmp" } = world;
  const effects = plans.map((plan) =>
    isOfManager(plan.fault) ? managerEffects(plan, plans, world) : stockEffects(plan, plans, world),
  );
  // The VM is as badly off as the worst of them makes it; where one may be harmless all have to be.
  if (effects.every((each) => each.has("intact"))) may("intact", "nothing of it ends a migration");
  for (const each of effects)
    for (const [effect, why] of each) if (effect !== "intact" && effect !== "paused") may(effect, why);
  if (plans.length > 1 && effects.some((each) => each.has("paused")))
    may("lost", "a second break during the recovery may be more than the manager's patience");
  if (isLibvirt(manager) && plans.length > 1 && plans.some(({ fault }) => isOfManager(fault)))
    may("lost", "what is broken while libvirt is broken too is nobody's to mend");
  const newest = Math.max(...world.qemus.map((version) => version ?? 99));
  if (newest >= 11 && world.accel === "tcg") may("corrupt", "QEMU 11.1 loses dirty pages under TCG by itself");
  return allowed(outcomes);
}

function stockEffects(
  plan: FaultPlan,
  plans: readonly FaultPlan[],
  world: ModelWorld,
): ReadonlyMap<Verdict | "paused", string> {
  const effects = new Map<Verdict | "paused", string>();
  const window = windowOf(plan.at, plans, world, plans.length === 1);
  const phases = PHASES.filter((phase) => fits({ ...BEGINNING, phase }, window));
  const { fault } = plan;
  if (isOwnFault(fault)) return effects;
  const killed = deadOf(fault, plan.heal === undefined);
  const cut = killed === undefined ? cutOf(fault, plan) : undefined;
  for (const phase of phases) {
    if (killed === "source")
      effects.set(phase === "after" ? "intact" : "lost", "the source died before all had left it");
    else if (killed === "target") effects.set(phase === "before" ? "intact" : "lost", "the target died with the VM");
    else if (cut === undefined) effects.set("intact", "it is no end of a migration");
    else {
      if (phase === "before" || phase === "package") {
        effects.set("intact", "the source goes on, or the link came back");
        effects.set("lost", "the device state was on its way");
      } else if (phase === "after") effects.set("intact", "the link was not needed any more");
      if (phase === "postcopy") for (const [effect, why] of resumed(cut, world)) effects.set(effect, why);
      if (phase === "postcopy" && !cut.back) effects.set("lost", "the link did not come back in time");
      if (phase === "postcopy" && cut.back && plans.length > 1) effects.set("paused", "");
      const oldest = Math.min(...world.qemus.map((version) => version ?? 99));
      if (phase === "postcopy" && cut.back && oldest < FIRST_GOOD_RECOVERY)
        effects.set("lost", "recovery did not always work before QEMU 8");
    }
  }
  const last = phases.includes("after") && cut !== undefined;
  if (last && world.qemus.some((version) => version === undefined || version >= 10))
    for (const verdict of ["lost", "rollback", "corrupt", "split-brain"] as const)
      effects.set(verdict, "cut after the last page, the source of QEMU 10 gives up and runs again beside the target");
  return effects;
}

interface Cut {
  /** The link comes back in time. */
  readonly back: boolean;
  /** QEMU is told of it, and pauses; not: nothing comes, and nobody says why. */
  readonly told: boolean | undefined;
}

/** What the manager makes of a stream that was broken in post-copy and can come back. */
function resumed({ back, told }: Cut, world: ModelWorld): ReadonlyMap<Verdict, string> {
  const { manager = "qmp", qemus } = world;
  const outcomes = new Map<Verdict, string>();
  if (!back) return outcomes;
  if (manager === "qmp") return outcomes.set("intact", "the link came back, and the manager resumed");
  // Nobody pauses what went silent: the connections go on when the link carries again.
  if (told !== true) outcomes.set("intact", "it went silent for a while, and went on by itself");
  if (told === false) return outcomes;
  if (manager !== "libvirt:resume") return outcomes.set("lost", "nobody resumes a paused post-copy");
  const target = qemus.at(-1) ?? LIBVIRT_CANNOT_RESUME;
  if (target >= LIBVIRT_CANNOT_RESUME) return outcomes.set("lost", "libvirt 11.3 cannot resume a post-copy");
  return outcomes.set("intact", "the link came back, and the operator resumed");
}

/** Whether it strikes what manages the VM, and not the VM or its stream. */
function isOfManager(fault: FaultPlan["fault"]): boolean {
  return !isOwnFault(fault) && (fault.fault === "kill-manager" || ("link" in fault && fault.link === "libvirt"));
}

/** In post-copy the stream goes on without them; before, a migration that loses them may be given up, or lost on its way. */
function managerEffects(
  plan: FaultPlan,
  plans: readonly FaultPlan[],
  world: ModelWorld,
): ReadonlyMap<Verdict | "paused", string> {
  const effects = new Map<Verdict | "paused", string>([["intact", "QEMU's stream does not go through them"]]);
  const { from } = windowOf(plan.at, plans, world, plans.length === 1);
  if (from === "before" || from === "package")
    effects.set("lost", "libvirt gives a migration up that it loses sight of before switchover, whoever has the VM");
  return effects;
}

function deadOf(fault: FaultSpec, forGood: boolean): HostRole | undefined {
  switch (fault.fault) {
    case "kill-host":
      return fault.host;
    case "kill-process":
      return fault.process === "qemu" ? fault.host : undefined;
    case "freeze-host":
      return forGood ? fault.host : undefined;
    case "freeze-process":
      return forGood && fault.process === "qemu" ? fault.host : undefined;
    default:
      return undefined;
  }
}

/** Whether it breaks the stream of a migration, and whether that comes back in time. */
function cutOf(fault: FaultSpec, plan: FaultPlan): Cut | undefined {
  const back = plan.heal !== undefined && durationOf(plan) <= STOCK_HEALED_MS;
  switch (fault.fault) {
    case "cut-reset":
      return fault.link === "source-target" ? { back, told: true } : undefined;
    case "cut-silent":
      return fault.link === "source-target" ? { back, told: false } : undefined;
    case "byte-limit":
      return fault.link === "source-target" ? { back: false, told: true } : undefined;
    case "detach-host":
      return fault.host === "escrow" ? undefined : { back, told: undefined };
    case "freeze-host":
    case "freeze-process":
      return fault.host === "escrow" ? undefined : { back, told: false };
    default:
      return undefined;
  }
}
