import { Cluster, type ClusterOptions } from "./cluster.ts";
import { startAgent, TIMING } from "./hosts.ts";
import { mustBeLive } from "./liveness.ts";
import { isSabotaged } from "./model.ts";
import { Violation } from "./oracle.ts";
import { ROLES, type Schedule } from "./schedule.ts";

/** After the last fault the VM has to run again within so many leases, and so many times what its changed pages take. */
const BOUND_LEASES = 9;
const TIMES = 4;
const EVENTS_MAX = 60_000;
/** Faults are over by then, unless the schedule says when. */
const QUIET_MS = 1_700;
const LOOKED_MS = 150;
const MIGRATE_EVERY_MS = 90;
const MIGRATE_TRIES = 30;

export interface Outcome {
  readonly violation: Violation | null;
  readonly events: number;
  /** Generations opened and routes taken, in order: the way of recovery. */
  readonly path: string;
  readonly live: boolean;
  /** Violations that agents have reported of shells that were made to do wrong. */
  readonly reported: readonly string[];
  readonly trace: readonly string[];
}

/** Plays one schedule, from the first word of the three agents to the end, and says whether a rule was broken. */
export function playWorld(schedule: Schedule, options: ClusterOptions = {}): Outcome {
  const cluster = new Cluster(schedule, options);
  let violation: Violation | null = null;
  let live = false;
  try {
    begin(cluster);
    live = toTheEnd(cluster);
    judge(cluster, live);
  } catch (thrown) {
    if (thrown instanceof Violation) violation = thrown;
    else if (thrown instanceof Error && thrown.name === "InvariantError") violation = new Violation(0, thrown.message);
    else throw thrown;
    cluster.trace?.push(`${cluster.now_ms.toFixed(1)} ${violation.message}`);
  }
  const { events, path, reported, trace } = cluster;
  return { violation, events, path, live, reported, trace: trace ?? [] };
}

function begin(cluster: Cluster): void {
  for (const role of ROLES) startAgent(cluster, cluster.hosts[role]);
  const when = cluster.schedule.protect?.when;
  if (when === "alone" || when === "before")
    cluster.at(5, () => cluster.event("source", { kind: "protect", on: true }));
  if (when === "before") cluster.at(20, () => migrateWhenProtected(cluster, MIGRATE_TRIES));
  else if (when !== "alone") cluster.at(5, () => cluster.event("source", { kind: "migrate" }));
  cluster.bulk?.begin();
  cluster.vm.begin();
  cluster.faults.begin();
}

/** Whoever manages the VM asks as soon as it is protected; and again where that came to nothing. */
function migrateWhenProtected(cluster: Cluster, tries: number): void {
  const { source } = cluster.hosts;
  const ready = source.agentUp && source.state.protect && source.state.tx.protectedIn !== null;
  if (ready && source.state.phase === "idle") cluster.event("source", { kind: "migrate" });
  if (tries > 0) cluster.at(MIGRATE_EVERY_MS, () => migrateWhenProtected(cluster, tries - (ready ? 1 : 0)));
}

/** Until output flows again, under protection where it can be, after the last fault (true), or the bound has passed. */
function toTheEnd(cluster: Cluster): boolean {
  const { faults, vm, watch, schedule } = cluster;
  let mark = -1;
  for (;;) {
    const next_ms = cluster.next_ms();
    const quiet_ms = Math.max(faults.quiet_ms, QUIET_MS);
    if (mark < 0 && next_ms > quiet_ms) {
      // The last fault is over: from here on only frames that are emitted later count.
      faults.disarm();
      mark = vm.framesEver;
    }
    // Protection is looked for now and then.
    const looked = schedule.wire === undefined || next_ms > quiet_ms + LOOKED_MS;
    const flows = looked && mark >= 0 && vm.edgeFresh > mark && watch.satisfied;
    const ends = schedule.faults.length > 0 || cluster.hosts.escrow.finished || watch.protectedForGood;
    if (flows && ends) return true;
    if (schedule.nervous && next_ms > quiet_ms + 300) return false;
    const bound_ms = BOUND_LEASES * TIMING.lease_ms + TIMES * watch.everything_ms() + 2 * watch.base_ms;
    if (next_ms > quiet_ms + bound_ms) return mark >= 0 && vm.edgeFresh > mark;
    cluster.advance();
    if (cluster.events > EVENTS_MAX) throw new Violation(4, "the agents never come to rest");
  }
}

/** What is opened when nothing breaks. */
const EXPECTED = {
  no: "target:protected target:final ",
  alone: "source:protected ",
  before: "source:protected target:protected ",
  after: "target:protected ",
} as const;

function judge(cluster: Cluster, live: boolean): void {
  const { schedule, path } = cluster;
  const expected = !schedule.nervous && !isSabotaged(cluster.model) && mustBeLive(cluster);
  if (!live && expected) throw new Violation(4, "two hosts live and can talk, but the VM does not run again");
  if (schedule.faults.length > 0 || schedule.nervous) return;
  const handed_off = schedule.protect?.when === "before" && !schedule.protect.always ? "target:final " : "";
  const wanted = EXPECTED[schedule.protect?.when ?? "no"] + handed_off;
  // The escrow may hear of the target's first record before it hears of its generation: then there is another one.
  const opened = path
    .replace(/(direct|via-escrow|none|escrow) /g, "")
    .replace(/(target:protected )+/, "target:protected ");
  if (opened !== wanted) {
    throw new Violation(4, `nothing broke, and yet: ${path}`);
  }
}
