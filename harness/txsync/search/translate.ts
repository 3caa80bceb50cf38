import type { Message, Role } from "../core/index.ts";
import { type Fault, type Schedule, SMALL, type Step, type When } from "../sim/schedule.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { after, begin, type Move, ordinary } from "./moves.ts";
import { isRuleBroken } from "./search.ts";
import { BEAT_MS, type Pending, type Setup, type World } from "./world.ts";

/** A lease of the simulator is as long as this; a heartbeat of the search is one lease. */
const LEASE_MS = 500;
/** What never ends there ends here when all has come to rest. */
const REST_MS = 1_800;

/** What could be carried over, and what could not. */
export interface Translation {
  readonly schedule: Schedule;
  /** Moves that the simulator has no word for: an order of things that only its seeds can bring about. */
  readonly lost: readonly string[];
}

/**
 * A way of the search as a schedule for the simulator: each fault is tied to the last step that an agent took before it.
 * The simulator's delays come from its seed, so it takes some of those to meet the same moment.
 */
export function toSchedule(setup: Setup, moves: readonly Move[]): Translation {
  const faults: Fault[] = [];
  const lost: string[] = [];
  const counts = new Map<string, number>();
  let last: When = { at_ms: 0 };
  let world = begin(setup);
  for (const [i, move] of moves.entries()) {
    const fault = faultOf(world, move, lastsFor(moves, i, world), last);
    if (fault !== null) faults.push(fault);
    else if (isUnspeakable(move)) lost.push(move.move);
    if (i === moves.length - 1) break;
    const next = after(world, move);
    for (const step of stepsTo(world, next)) {
      const key = `${step.by} ${step.after}`;
      const count = (counts.get(key) ?? 0) + 1;
      counts.set(key, count);
      last = { after: step.after, by: step.by, count, plus_ms: 0 };
    }
    world = next;
  }
  const { durability, logSync } = setup;
  const pageRate = setup.drains ? 6 : 0.2;
  return { schedule: { seed: 0, durability, logSync, pageRate, size: SMALL, nervous: false, faults }, lost };
}

function isUnspeakable({ move }: Move): boolean {
  return move === "release" || move === "repeat" || move === "work" || move === "fail";
}

/** Steps of the simulator's words that were taken between the two: what is under way now and was not before. */
function stepsTo(before: World, now: World): readonly { readonly after: Step; readonly by: Role }[] {
  const old = new Set(before.pending);
  return now.pending.filter((p) => !old.has(p) && !p.held).flatMap((p) => stepOf(p) ?? []);
}

function stepOf(pending: Pending): { readonly after: Step; readonly by: Role } | null {
  switch (pending.kind) {
    case "message":
      return { after: `send:${pending.message.kind}`, by: pending.from };
    case "persist":
      return { after: "persistPromise", by: pending.role };
    case "load":
      return { after: "loadPackage", by: "target" };
    case "take":
      return { after: "takeTransaction", by: pending.role };
    case "store":
      return { after: "storeRecord", by: "escrow" };
    case "restore":
      return { after: "startRestore", by: pending.role };
    case "ran":
      return { after: "runQemu", by: pending.role };
    case "out":
      return { after: "releaseOutput", by: pending.role };
    case "capture":
      return { after: "startMigration", by: "source" };
    case "ack":
    case "gone":
      return null;
  }
}

/** How long it is until the move that ends the fault, by the timers that fire meanwhile. */
function lastsFor(moves: readonly Move[], from: number, world: World): number {
  const { move } = moves[from] ?? { move: "rest" };
  const ends: Move["move"] | null =
    move === "cut" ? "heal" : move === "freeze" ? "thaw" : move === "crash" || move === "reboot" ? "back" : null;
  let beats = 0;
  for (const next of moves.slice(from + 1)) {
    if (next.move === "beat" && next.role === (world.hosts.source.frozen ? "escrow" : "source")) beats += 1;
    if (next.move === ends) return Math.max(20, beats * LEASE_MS);
    if (next.move === "rest") break;
  }
  return REST_MS;
}

function faultOf(world: World, move: Move, for_ms: number, when: When): Fault | null {
  switch (move.move) {
    case "cut":
      return { kind: "cut", pair: move.pair, direction: move.direction, for_ms, when };
    case "crash":
      return { kind: "crash-agent", role: move.role, for_ms: move.back ? BEAT_MS / 2 : for_ms, when };
    case "reboot":
      return { kind: "reboot-host", role: move.role, for_ms: move.back ? BEAT_MS / 2 : for_ms, when };
    case "kill":
      return { kind: "kill-host", role: move.role, when };
    case "freeze":
      return { kind: "freeze-host", role: move.role, for_ms, when };
    case "qemu":
      return move.role === "escrow" ? null : { kind: "kill-qemu", role: move.role, when };
    case "tail":
      return { kind: "lose-tail", records: 1, for_ms: BEAT_MS / 2, when };
    case "full":
      return { kind: "full-disk", for_ms: REST_MS, when };
    case "untrack":
      return { kind: "untrackable", for_ms: null, when };
    case "runless":
      return { kind: "failing-run", for_ms: REST_MS, when };
    case "hold":
    case "lose":
      return lateOf(world.pending[move.at], when);
    default:
      return null;
  }
}

/** What is late, or lost and said again. */
function lateOf(pending: Pending | undefined, when: When): Fault | null {
  if (pending === undefined) return null;
  const [for_ms, late_ms] = [REST_MS, 700];
  switch (pending.kind) {
    case "message": {
      const message: Message["kind"] = pending.message.kind;
      return { kind: "delay", by: pending.from, message, times: 1, delay_ms: REST_MS, when };
    }
    case "take":
      return { kind: "slow-takes", for_ms, take_ms: late_ms, when };
    case "store":
      return { kind: "slow-store", for_ms, store_ms: late_ms, when };
    case "ran":
      return { kind: "slow-run", for_ms, run_ms: late_ms, when };
    default:
      return null;
  }
}

/** A way of the search, and what of the schedule it could not say. */
export interface Course {
  readonly moves: readonly Move[];
  readonly lost: readonly string[];
}

/**
 * A schedule of the simulator as a way of the search: the ordinary way, with each fault right behind the step that it is
 * tied to. What is tied to a time, or is a matter of how long something takes, has no place there. It is followed until
 * all has come to rest, or a rule is broken.
 */
export function fromSchedule(setup: Setup, schedule: Pick<Schedule, "faults">): Course {
  const lost: string[] = [];
  const armed = schedule.faults.flatMap((fault) => {
    if (!("at_ms" in fault.when) && moveOf(fault) !== null) return [{ fault, left: fault.when.count }];
    lost.push(fault.kind);
    return [];
  });
  const moves: Move[] = [];
  const known = new Set<string>();
  let world = begin(setup);
  const due: Move[] = [];
  try {
    while (moves.length < COURSE_MAX) {
      const { low, high } = fingerprintOf(world);
      const print = `${low} ${high}`;
      const usual = known.has(print) ? ({ move: "rest" } as const) : ordinary(world);
      known.add(print);
      const move = due.shift() ?? usual;
      if (move === null) break;
      moves.push(move);
      const next = after(world, move);
      for (const step of stepsTo(world, next)) {
        for (const one of armed) {
          const { when } = one.fault;
          if ("at_ms" in when || when.after !== step.after || when.by !== step.by) continue;
          one.left -= 1;
          if (one.left === 0) due.push(moveOf(one.fault) ?? { move: "tick" });
        }
      }
      world = next;
    }
  } catch (thrown) {
    if (!isRuleBroken(thrown)) throw thrown;
  }
  return { moves, lost };
}

const COURSE_MAX = 1_000;

function moveOf(fault: Fault): Move | null {
  switch (fault.kind) {
    case "cut":
      return { move: "cut", pair: fault.pair, direction: fault.direction };
    case "crash-agent":
      return { move: "crash", role: fault.role, kept: false, back: isShort(fault.for_ms) };
    case "reboot-host":
      return { move: "reboot", role: fault.role, kept: false, back: isShort(fault.for_ms) };
    case "kill-host":
      return { move: "kill", role: fault.role };
    case "freeze-host":
      return { move: "freeze", role: fault.role };
    case "kill-qemu":
      return { move: "qemu", role: fault.role };
    case "lose-tail":
      return { move: "tail" };
    case "full-disk":
      return { move: "full" };
    case "untrackable":
      return { move: "untrack" };
    case "failing-run":
      return { move: "runless" };
    default:
      return null;
  }
}

/** Nobody misses it before it is back. */
function isShort(for_ms: number | null): boolean {
  return for_ms !== null && for_ms < LEASE_MS;
}
