import type { AgentState } from "../core/index.ts";
import { BEAT_MS, type SearchHost, type World } from "./world.ts";

/**
 * 64 bits of all that decides how a world goes on, so that what was reached before by another way is not searched again.
 * What is symmetric is one: clocks count as ages, an age counts up to where it makes no difference, and which life of an
 * agent something is of counts only as its number. Two worlds that share a fingerprint by chance (of ten million:
 * less than one in 10^5) would hide one of them; nothing that is reported as broken rests on it.
 */
export interface Fingerprint {
  readonly low: number;
  readonly high: number;
}

/** Said by clocks, and compared with later words of the same clock alone. */
const SKIPPED: ReadonlySet<string> = new Set([
  "at_ms",
  "sent_ms",
  "echo_ms",
  "now_ms",
  "config",
  "superseded",
  "silent",
  "attempt",
  "incarnation",
  "bytes",
  "synced",
  "patience_ms",
  // Only a protected VM that migrates waits for that, and none does here.
  "unstored",
  "took_ms",
  "stored_in_ms",
]);

/** So much of a wait makes a difference, in heartbeats. */
const PATIENCE_BEATS = 4;
/** Words of others, which are kept as they came. */
const STATUSES: ReadonlySet<string> = new Set(["peerSource", "peerTarget", "peerEscrow"]);

/** Times of an agent's clock, as so many heartbeats ago or still to come, and up to how many it matters. */
const AGES: Readonly<Record<string, number>> = {
  heardSource_ms: 2,
  heardTarget_ms: 2,
  heardEscrow_ms: 2,
  baseMissing_ms: 2,
  offerUnheard_ms: 3,
  cannotFollow_ms: 2,
  since_ms: 4,
  moved_ms: 4,
  incomingSince_ms: 3,
  packageSent_ms: 1,
  lastTaken_ms: 1,
  graceUntil_ms: 0,
  retry_ms: 0,
  nextAsk_ms: 0,
  asked_ms: 3,
};

let low = 0;
let high = 0;

function mix(n: number): void {
  low = Math.imul(low ^ n, 0x85ebca6b);
  low = (low << 13) | (low >>> 19);
  high = Math.imul(high ^ (n + 0x9e3779b9), 0xc2b2ae35);
  high = (high << 17) | (high >>> 15);
  high = (high + low) | 0;
}

const WORDS = new Map<string, number>();

function mixText(text: string): void {
  let known = WORDS.get(text);
  if (known === undefined) {
    known = 0x811c9dc5;
    for (let i = 0; i < text.length; i += 1) known = Math.imul(known ^ text.charCodeAt(i), 0x01000193);
    WORDS.set(text, known);
  }
  mix(known);
}

function mixValue(value: unknown, now_ms: number): void {
  switch (typeof value) {
    case "number":
      mix(Number.isFinite(value) ? value : value > 0 ? 0x7ffffff1 : 0x7ffffff2);
      return;
    case "boolean":
      mix(value ? 0x1001 : 0x1002);
      return;
    case "string":
      mixText(value);
      return;
    case "object":
      if (value === null) mix(0x1003);
      else mixObject(value, now_ms);
      return;
    default:
      mix(0x1004);
  }
}

function mixObject(value: object, now_ms: number): void {
  if (Array.isArray(value) || value instanceof Int32Array) {
    mix(value.length);
    for (const each of value) mixValue(each, now_ms);
    return;
  }
  for (const [key, each] of Object.entries(value)) {
    if (SKIPPED.has(key)) continue;
    const most = AGES[key];
    if (most !== undefined && typeof each === "number" && now_ms >= 0) mix(age(now_ms, each, most));
    else if (STATUSES.has(key)) mixKept(each as object | null);
    else mixValue(each, now_ms);
  }
  mix(0x1005);
}

function age(now_ms: number, then_ms: number, most: number): number {
  const beats = Math.ceil((now_ms - then_ms) / BEAT_MS);
  return Math.min(beats, most);
}

const known = new WeakMap<object, Fingerprint>();

/** Of something that is never changed, once and for all. */
function mixKept(value: object | null, now_ms = -1, content = value): void {
  if (value === null || content === null) {
    mix(0x1006);
    return;
  }
  let print = known.get(value);
  if (print === undefined) {
    const [l, h] = [low, high];
    low = 0x12345678;
    high = 0x76543210;
    mixObject(content, now_ms);
    print = { low, high };
    known.set(value, print);
    low = l;
    high = h;
  }
  mix(print.low);
  mix(print.high);
}

function mixState(state: AgentState): void {
  mixKept(state, state.now_ms);
  // While memory is copied ahead silence is borne for longer, and counted for longer.
  if (state.phase === "precopy") {
    for (const heard_ms of [state.heardTarget_ms, state.heardEscrow_ms]) mix(age(state.now_ms, heard_ms, 5));
  }
  const { tx } = state;
  const most_ms = Math.min(tx.patience_ms, PATIENCE_BEATS * BEAT_MS);
  mix(most_ms);
  mix(tx.stage === "sent" ? Math.min(state.now_ms - tx.sent_ms, most_ms) : 0);
}

/** Whether two messages say the same, whenever they were said. */
export function saysTheSame(a: object, b: object): boolean {
  mixKept(a);
  mixKept(b);
  const [x, y] = [known.get(a), known.get(b)];
  return x?.low === y?.low && x?.high === y?.high;
}

function mixOracle(oracle: World["oracle"]): void {
  const found = known.get(oracle);
  if (found === undefined) mixKept(oracle, -1, oracle.seen);
  else {
    mix(found.low);
    mix(found.high);
  }
}

function mixHost(host: SearchHost): void {
  mix(
    (host.up ? 1 : 0) |
      (host.agentUp ? 2 : 0) |
      (host.frozen ? 4 : 0) |
      (host.hasBase ? 8 : 0) |
      (host.finished ? 16 : 0),
  );
  mix((host.memoryKept ? 1 : 0) | (host.heardRunning ? 2 : 0) | (host.dead ? 4 : 0));
  mixState(host.state);
  mixKept(host.durable);
  mixKept(host.writing);
  const { vm } = host;
  if (vm === null) mix(0x2001);
  else {
    mix(vm.hash);
    mix((vm.running ? 1 : 0) | (vm.still ? 2 : 0));
    mix(vm.restoredMark ?? -1);
    mixKept(vm.frames);
    mixKept(vm.memory);
    for (const mark of vm.table.marks) mix(mark);
  }
  mixKept(host.frames);
  mixKept(host.package);
  mix(host.committed ?? -2);
  mix(host.acked);
  mixKept(host.log);
  mixKept(host.bodies);
  mixKept(host.taking);
  mixKept(host.takeNext);
}

export function fingerprintOf(world: World): Fingerprint {
  low = 0x2545f491;
  high = 0x4f6cdd1d;
  mixHost(world.hosts.source);
  mixHost(world.hosts.target);
  mixHost(world.hosts.escrow);
  for (const pending of world.pending) mixKept(pending);
  mix(world.cut);
  mix(world.turn);
  mix(world.pagesTarget * 8 + world.pagesEscrow * 2 + (world.covered ? 1 : 0));
  mixKept(world.base);
  mixOracle(world.oracle);
  mix(world.workLeft);
  mix(world.writes);
  mix(world.framesEver);
  mix(world.edgeFresh);
  mixText(world.stage);
  mix(world.provenFrom);
  mix((world.diskFull ? 1 : 0) | (world.untrackable ? 2 : 0) | (world.runsFail ? 4 : 0) | (world.onlyCut ? 8 : 0));
  return { low: low >>> 0, high: high >>> 0 };
}
