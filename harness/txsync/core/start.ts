import type { Config } from "./config.ts";
import type { AgentEvent, HostMemory } from "./event.ts";
import { isFree } from "./owner.ts";
import type { AgentState } from "./state.ts";
import {
  type Descriptor,
  type FrameNumber,
  frameNumber,
  generation,
  type Role,
  transactionNumber,
  type VmState,
} from "./values.ts";

type Started = Extract<AgentEvent, { kind: "started" }>;

/** Generation 0: the VM runs on the source, as it did before anyone spoke of a migration. */
export const GENESIS: Descriptor = {
  generation: generation(0),
  owner: "source",
  mode: "final",
  validFrom: generation(0),
  basis: null,
};

/** Generation 1: the target owns the VM from switchover on, under the escrow's protection. */
export const SWITCHOVER: Descriptor = {
  generation: generation(1),
  owner: "target",
  mode: "protected",
  validFrom: generation(1),
  basis: null,
};

/** How long a record is waited for whose escrow has not said that it cannot store. */
export function patience({ lease_ms }: Config): number {
  return lease_ms / 2;
}

/** An agent that has not started yet; its first event is `started`. */
export function initialState(config: Config): AgentState {
  return {
    config,
    now_ms: 0,
    incarnation: 0,
    superseded: [],
    graceUntil_ms: 0,
    heardSource_ms: Number.NEGATIVE_INFINITY,
    heardTarget_ms: Number.NEGATIVE_INFINITY,
    heardEscrow_ms: Number.NEGATIVE_INFINITY,
    peerSource: null,
    peerTarget: null,
    peerEscrow: null,
    promised: GENESIS,
    persisting: null,
    escrow: null,
    letIn: config.joins !== true || !config.rules.replacedWhileUnprotected,
    replyAfterStore: null,
    opened: GENESIS,
    begun: config.role === "source" ? GENESIS.generation : null,
    openedNoted: false,
    seen: generation(0),
    candidacy: null,
    asker: null,
    phase: "idle",
    vm: config.role === "source" ? "running" : "none",
    untrackable: null,
    runAsked: false,
    ranFree: false,
    everFree: false,
    protect: false,
    base: "none",
    baseMissing_ms: null,
    offerUnheard_ms: null,
    ticking: config.role === "target",
    hasBase: config.role === "source",
    hasPackage: false,
    joined: [],
    attempt: 0,
    incomingSince_ms: 0,
    packageSent_ms: Number.NEGATIVE_INFINITY,
    migrating: false,
    leaving: null,
    leftAt: null,
    cannotFollow_ms: null,
    sourceDeaf_ms: null,
    allPages: false,
    baseCovered: false,
    baseComplete: false,
    route: "direct",
    gate: { produced: frameNumber(0), released: frameNumber(0), acked: frameNumber(0), committed: frameNumber(0) },
    tx: {
      stage: "idle",
      next: transactionNumber(1),
      record: null,
      sent_ms: 0,
      patience_ms: patience(config),
      unstored: null,
      lastTaken_ms: Number.NEGATIVE_INFINITY,
      took_ms: 0,
      stored_in_ms: 0,
      since: "base",
      refused: 0,
      hold: false,
      protectedIn: null,
      committed: -1,
    },
    reassert: false,
    log: null,
    logLost: false,
    storing: null,
    storingFrom: "target",
    waiting: null,
    cannotStore: false,
    waitingFrom: "target",
    restoreFrom: null,
    restored: null,
    retry_ms: 0,
    finished: false,
    silent: [],
  };
}

/**
 * State of an agent that comes up, perhaps again: what it promised comes from disk, what its VM does from the host's
 * memory, everything else is forgotten. What was opened is known only if it was noted; else it is asked for again.
 */
export function startedState(config: Config, event: Started): AgentState {
  const fresh = initialState(config);
  const { durable, memory, log, now_ms, incarnation } = event;
  const promised = durable?.descriptor ?? GENESIS;
  const { role } = config;
  const counted = role === "escrow" && logIsShort(config, event) ? invalidateLog(promised) : promised;
  const known = knownOpened(config, promised, durable?.opened ?? false);
  const opened = known ?? originOf(config, promised, memory);
  const vm = memory?.vm ?? (durable === null && role === "source" ? "running" : durable === null ? "none" : "gone");
  const ranFree = hasRunFree(config, promised, memory, vm);
  const acked = memory?.acked ?? frameNumber(0);
  // What a restored VM put out that died before it was known to run is nobody's: it is restored again.
  const neverRan = isFinalOf(promised, role) && !ranFree && vm !== "running" && vm !== "ready";
  const produced = neverRan ? acked : (memory?.produced ?? frameNumber(0));
  return {
    ...fresh,
    now_ms,
    incarnation,
    graceUntil_ms: now_ms + config.lease_ms,
    promised: counted,
    escrow: durable?.escrow ?? null,
    letIn: fresh.letIn || durable !== null,
    opened,
    begun: begunBefore(config, promised, known, opened),
    openedNoted: durable?.opened ?? false,
    seen: promised.generation,
    phase: phaseAfterRestart(config, promised, opened, vm, ranFree),
    vm,
    ranFree,
    everFree: memory === null ? durable !== null : memory.everFree || (durable?.opened ?? false),
    protect: memory?.protect ?? false,
    // A copy that was under way is begun anew: what was sent of it is not known.
    base: memory?.base === "held" || memory?.base === "following" ? memory.base : "none",
    leftAt: memory?.leftAt ?? null,
    hasBase: role !== "target" && (memory?.hasBase ?? (role === "source" && durable === null)),
    hasPackage: memory?.hasPackage ?? false,
    allPages: isAllHere(config, memory, vm),
    restored: memory?.restored ?? null,
    gate: { produced, released: acked, acked, committed: vm === "ready" ? containedOf(memory, produced) : acked },
    tx: { ...fresh.tx, committed: durable === null ? -1 : memory === null ? null : memory.committed },
    log,
    logLost: counted.validFrom !== promised.validFrom,
  };
}

/** Of a VM that stands ready, as far as is known: its agent may have died as it told it to run. */
function containedOf(memory: HostMemory | null, produced: FrameNumber): FrameNumber {
  return frameNumber(Math.min(memory?.contained ?? 0, produced));
}

function isFinalOf(d: Descriptor, role: Role): boolean {
  return d.generation > 0 && d.mode === "final" && d.owner === role;
}

/**
 * Has the VM of our final generation run? Not one that stands ready, nor one whose generation this host knows was not
 * opened, nor one that was never known to run. A host that remembers nothing has to think that it did.
 */
function hasRunFree(config: Config, promised: Descriptor, memory: HostMemory | null, vm: VmState): boolean {
  if (vm === "ready" || !isFinalOf(promised, config.role)) return false;
  if (memory === null) return true;
  return config.rules.restoreWhatNeverRan ? memory.ranFree || (vm === "running" && memory.everFree) : memory.everFree;
}

/**
 * Every page of the VM that runs here is here. One that was restored here and is known to have run lacks none, whatever
 * generation it has got since: in its own, which was `final`, that is what `ranFree` says.
 */
function isAllHere(config: Config, memory: HostMemory | null, vm: VmState): boolean {
  if (memory === null) return false;
  const restored = config.role === "target" && vm === "running" && memory.ranFree;
  return memory.allPages || (restored && config.rules.restoredStaysWhole);
}

/** Records that were answered for, or may have been, are not there any more. */
function logIsShort(config: Config, { durable, memory, log }: Started): boolean {
  if (memory === null) return durable !== null && config.logSync === "memory";
  const answered = memory.log;
  if (!config.rules.lostTailVoidsLog) return false;
  if (memory.logLost) return true;
  if (answered === null) return false;
  return log === null || log.last < answered.last || log.generation < answered.generation;
}

/** The log may have lost records that were answered for: only a later generation's count. */
function invalidateLog(d: Descriptor): Descriptor {
  return { ...d, validFrom: generation(d.generation + 1) };
}

function knownOpened(config: Config, promised: Descriptor, noted: boolean): Descriptor | null {
  if (noted) return promised;
  if (!config.rules.restartOpensGeneration && config.role === promised.owner) return promised;
  // The source promised generation 1 to itself only after both others had: it was opened with that.
  const left = config.role === "source" && promised.owner === "target";
  return promised.generation === 0 || (left && promised.generation === SWITCHOVER.generation) ? promised : null;
}

/** What the host's memory keeps of the generations that were opened: another host's is learnt from whoever has it. */
export function ownOpened({ config, opened }: AgentState): Descriptor | null {
  return opened.owner === config.role && opened.generation > 0 ? opened : null;
}

/** A free generation that was opened is gone on with; of a protected one what was under way is not known. */
function begunBefore({ role }: Config, promised: Descriptor, known: Descriptor | null, opened: Descriptor) {
  if (known !== null) return known.owner === role ? known.generation : null;
  const ours = opened.owner === role && opened.generation === promised.generation;
  return ours && isFree(opened) ? opened.generation : null;
}

/**
 * The VM here is of a generation of ours that was opened, whatever was promised since: the last one that the host's memory has,
 * the claim that it was restored for, or the one in which it came. Who has not heard of that speaks of what was before, and
 * takes away nothing that came after.
 */
function originOf({ role, rules }: Config, promised: Descriptor, memory: HostMemory | null): Descriptor {
  if (role === "escrow" || !rules.restartKnowsOrigin) return GENESIS;
  const basis = (promised.owner === role ? promised.basis : null) ?? memory?.restored ?? null;
  const came = role === "target" ? (memory?.leftAt?.generation ?? 0) : 0;
  const origin = Math.max(basis?.claim ?? 0, came);
  const remembered = memory?.opened ?? null;
  if (remembered !== null && remembered.generation >= origin) return remembered;
  if (origin === 0) return GENESIS;
  const validFrom = generation(Math.min(promised.validFrom, origin));
  return {
    generation: generation(origin),
    owner: role,
    mode: came === origin ? "protected" : "claim",
    validFrom,
    basis: null,
  };
}

function phaseAfterRestart(
  config: Config,
  promised: Descriptor,
  opened: Descriptor,
  vm: VmState,
  ranFree: boolean,
): AgentState["phase"] {
  if (promised.generation === 0) return "idle";
  if (opened.generation > 0 && opened.mode === "final" && opened.owner === config.role) {
    if (!ranFree && vm !== "running" && opened.basis !== null) return "handoff";
    return vm === "gone" ? "lost" : "completed";
  }
  return "draining";
}
