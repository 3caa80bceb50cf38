import type { Config } from "./config.ts";
import type { AgentEvent } from "./event.ts";
import type { AgentState } from "./state.ts";
import { type Descriptor, frameNumber, generation, type Role, transactionNumber } from "./values.ts";

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

/** An agent that has not started yet; its first event is `started`. */
export function initialState(config: Config): AgentState {
  return {
    config,
    now_ms: 0,
    graceUntil_ms: 0,
    heardSource_ms: Number.NEGATIVE_INFINITY,
    heardTarget_ms: Number.NEGATIVE_INFINITY,
    heardEscrow_ms: Number.NEGATIVE_INFINITY,
    peerSource: null,
    peerTarget: null,
    peerEscrow: null,
    promised: GENESIS,
    persisting: null,
    replyAfterStore: null,
    opened: GENESIS,
    begun: config.role === "source" ? GENESIS.generation : null,
    openedNoted: false,
    seen: generation(0),
    candidacy: null,
    phase: "idle",
    vm: config.role === "source" ? "running" : "none",
    ranFree: false,
    everFree: false,
    hasBase: config.role === "source",
    hasPackage: false,
    joined: [],
    attempt: 0,
    incomingSince_ms: 0,
    migrating: false,
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
      lastTaken_ms: Number.NEGATIVE_INFINITY,
      cumulative: true,
      committed: -1,
    },
    reassert: false,
    log: null,
    storing: null,
    restoreFrom: null,
    restored: null,
    retryRestore_ms: 0,
    finished: false,
    silent: [],
  };
}

/**
 * State of an agent that comes up, perhaps again: what it promised comes from disk, what its VM does from the host's
 * memory, everything else is forgotten. What was opened is known only if it was noted; else it is asked for again.
 */
export function startedState(config: Config, event: Extract<AgentEvent, { kind: "started" }>): AgentState {
  const fresh = initialState(config);
  const { durable, memory, log, now_ms } = event;
  const promised = durable?.descriptor ?? GENESIS;
  const { role } = config;
  const opened = knownOpened(config, promised, durable?.opened ?? false);
  const vm = memory?.vm ?? (durable === null && role === "source" ? "running" : durable === null ? "none" : "gone");
  const lostMemory = memory === null && durable !== null;
  return {
    ...fresh,
    now_ms,
    graceUntil_ms: now_ms + config.lease_ms,
    promised: lostMemory && role === "escrow" && config.logSync === "memory" ? invalidateLog(promised) : promised,
    opened,
    begun: opened.owner === role && opened.generation === promised.generation ? opened.generation : null,
    openedNoted: durable?.opened ?? false,
    seen: promised.generation,
    phase: phaseAfterRestart(config, promised, opened, vm),
    vm,
    // A VM that stands ready never ran, nor did one whose generation this host knows was not opened.
    ranFree: vm !== "ready" && memory?.everFree !== false && isFinalOf(promised, role),
    everFree: memory === null ? durable !== null : memory.everFree || (durable?.opened ?? false),
    hasBase: role === "source" && (memory?.hasBase ?? durable === null),
    hasPackage: memory?.hasPackage ?? false,
    allPages: memory?.allPages ?? false,
    restored: memory?.restored ?? null,
    gate: {
      produced: memory?.produced ?? frameNumber(0),
      released: memory?.acked ?? frameNumber(0),
      acked: memory?.acked ?? frameNumber(0),
      committed: memory?.acked ?? frameNumber(0),
    },
    tx: { ...fresh.tx, committed: durable === null ? -1 : memory === null ? null : memory.committed },
    log,
  };
}

function isFinalOf(d: Descriptor, role: Role): boolean {
  return d.generation > 0 && d.mode === "final" && d.owner === role;
}

/** The log may have lost records that were answered for: only a later generation's count. */
function invalidateLog(d: Descriptor): Descriptor {
  return { ...d, validFrom: generation(d.generation + 1) };
}

function knownOpened(config: Config, promised: Descriptor, noted: boolean): Descriptor {
  if (noted) return promised;
  if (!config.rules.restartOpensGeneration && config.role === promised.owner) return promised;
  // The source promised generation 1 to itself only after both others had: it was opened with that.
  return config.role === "source" && promised.generation === SWITCHOVER.generation ? promised : GENESIS;
}

function phaseAfterRestart(
  config: Config,
  promised: Descriptor,
  opened: Descriptor,
  vm: AgentState["vm"],
): AgentState["phase"] {
  if (promised.generation === 0) return "idle";
  if (opened.generation > 0 && opened.mode === "final" && opened.owner === config.role) {
    return vm === "gone" ? "lost" : "completed";
  }
  return "draining";
}
