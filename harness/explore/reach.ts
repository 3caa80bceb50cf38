import type { Manager } from "../base/configuration.ts";
import type { Recovery } from "../base/run-record.ts";
import type { FaultPlan, Trigger } from "../run/scenario.ts";
import { STEP_NAMES, type StepName, stepOf } from "../run/steps.ts";
import type { TxsyncSettings } from "../run/txsync/settings.ts";

/**
 * How a run comes to a step at all: most come in every migration, others only where something broke before, and a few
 * nobody knows a way to. A second fault at such a step strikes during the repair of the first.
 */
export interface Way {
  /** Faults that bring it about, before the one that is to strike there. */
  readonly before: readonly FaultPlan[];
  readonly at: Trigger;
}

const AT_30: Trigger = { on: "pages", percent: 30 };
const at = (step: StepName): Trigger => ({ on: "step", step });
const since = (step: StepName): Trigger => ({ on: "step", step, since: 0 });

const targetDies: FaultPlan = { fault: { fault: "kill-process", host: "target", process: "qemu" }, at: AT_30 };
/** Later than others: by then it is sure that the escrow can take its place. */
const sourceDies: FaultPlan = { fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 60 } };
const agentDies: FaultPlan = { fault: { fault: "kill-process", host: "target", process: "agent" }, at: AT_30 };
const escrowStaysAway: FaultPlan = {
  fault: { fault: "kill-process", host: "escrow", process: "agent", stays_away: true },
  at: AT_30,
  heal: { on: "fault", index: 0, after_ms: 2_000 },
};
const escrowBlinks: FaultPlan = {
  fault: { fault: "cut-silent", link: "target-escrow", direction: "both" },
  at: AT_30,
  heal: { on: "fault", index: 0, after_ms: 1_000 },
};
const linkCut: FaultPlan = { fault: { fault: "cut-reset", link: "source-target" }, at: AT_30 };
const linkBlinks: FaultPlan = { ...linkCut, heal: { on: "fault", index: 0, after_ms: 1_000 } };
const targetCutOff: FaultPlan = {
  fault: { fault: "detach-host", host: "target" },
  at: AT_30,
  heal: { on: "fault", index: 0, after_ms: 4_000 },
};

/** Steps that come only where something broke before, and what; undefined: no fault is known that brings it. */
const BROUGHT: { readonly [R in Recovery]: { readonly [Step in StepName]?: FaultPlan | undefined } } = {
  stock: {
    "postcopy-paused": linkBlinks,
    recovering: linkBlinks,
    failed: undefined,
  },
  txsync: {
    recovering: agentDies,
    failed: undefined,
    "protection-off": escrowStaysAway,
    // It takes more output than such a run lets wait: `--held-output`.
    "output-full": undefined,
    "output-room": undefined,
    "lease-lost": escrowBlinks,
    "lease-regained": escrowBlinks,
    "vote-pre-asked": targetDies,
    "vote-pre-promised": targetDies,
    "vote-pre-refused": undefined,
    "vote-asked": targetDies,
    "vote-promise-made": targetDies,
    "vote-promised": targetDies,
    "vote-refused": undefined,
    "generation-opened": targetDies,
    "generation-closed": targetCutOff,
    "restore-started": targetDies,
    "restore-made": targetDies,
    "restore-verified": targetDies,
    "restore-finished": targetDies,
    "restore-running": targetDies,
    "pages-rerouted": linkCut,
    takeover: sourceDies,
    "takeover-served": sourceDies,
  },
};

/** Of a VM that is protected before it migrates: it is restored on the target, from what the escrow has. */
const protectedSourceDies: FaultPlan = {
  fault: { fault: "kill-host", host: "source" },
  at: { on: "step", step: "precopy" },
};

/** Steps that votes, leases and the like come to in every migration too: they count from the first fault on. */
const COUNTS_SINCE = new Set<string>(["vote", "restore", "takeover"]);

/** Who resumes nothing by itself. */
const NEVER_RESUME: readonly (Manager | undefined)[] = ["none", "libvirt"];

/**
 * The way to a step; undefined where it does not come under this recovery and manager, or nobody knows one.
 * @param set what decides on it of txsync's settings
 */
export function wayTo(
  step: StepName,
  recovery: Recovery,
  manager?: Manager,
  set: Partial<Pick<TxsyncSettings, "protect_before" | "protect">> = {},
): Way | undefined {
  const { under, part } = stepOf(step);
  if (under !== "both" && under !== recovery) return undefined;
  if (step === "recovering" && NEVER_RESUME.includes(manager)) return undefined;
  // Memory is there before: what is left comes so soon that nobody need see it on its way.
  if (step === "completing" && set.protect_before === true) return undefined;
  const brought = BROUGHT[recovery];
  // Who stays protected is handed nothing over: it is a restore that ends so.
  const by_restore = part === "restore" || (set.protect === "always" && step.startsWith("ownership-"));
  if (!(step in brought) && !by_restore) return { before: [], at: at(step) };
  const restores = set.protect_before === true ? protectedSourceDies : targetDies;
  const first = by_restore ? restores : brought[step];
  if (first === undefined) return undefined;
  return { before: [first], at: COUNTS_SINCE.has(part) ? since(step) : at(step) };
}

/** The steps that a run under this recovery can be brought to. */
export function reachableSteps(recovery: Recovery, manager?: Manager): readonly StepName[] {
  return STEP_NAMES.filter((step) => wayTo(step, recovery, manager) !== undefined);
}
