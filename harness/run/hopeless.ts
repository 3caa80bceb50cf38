import type { Recovery } from "../base/run-record.ts";
import type { HostRole, ProtocolStep, TimelineEvent } from "../base/timeline.ts";
import { whereOf } from "../faults/index.ts";
import type { FaultPlan, Trigger } from "./scenario.ts";
import { type StepName, stepOf } from "./steps.ts";
import { faultId, fires, isOfFault, triggerText } from "./trigger.ts";

/** A fault that waits for something that cannot come any more: to strike, or to be healed. */
export interface Hopeless {
  /** Of the fault in the scenario's list. */
  readonly index: number;
  readonly waits: "to strike" | "to be healed";
  /** One sentence: which fault, which trigger, why it cannot come. */
  readonly why: string;
}

interface FaultState {
  at_fired: boolean;
  injected: boolean;
  heal_fired: boolean;
  healed: boolean;
  failed: string | undefined;
  /** The steps that had been seen when it struck. */
  steps_before: ReadonlySet<string>;
}

/** What a recovery does with a VM that it has carried over, as far as it decides what can still come. */
export interface Carrying {
  /**
   * The VM is protected after the handoff too, and anew wherever a restored one runs: records, votes and restores may come
   * for as long as the run lasts, one restore after the other.
   */
  readonly goes_on_protected?: boolean | undefined;
}

/**
 * Which of a scenario's triggers cannot come any more, after the events so far. It says so only where it is sure: a
 * trigger that it does not call hopeless may come or not.
 */
export function hopelessTriggers(
  plans: readonly FaultPlan[],
  events: readonly TimelineEvent[],
  carrying?: Carrying,
): readonly Hopeless[] {
  const outlook = new Outlook(plans, carrying);
  for (const event of events) outlook.see(event);
  return outlook.hopeless();
}

const NOT_ANY_MORE = "which cannot come any more";

/**
 * The first trigger of a scenario that never comes, whatever happens in the run: no run under this recovery comes to it, or it
 * waits for a fault that never strikes. One sentence as above; undefined: each may come.
 */
export function neverComes(plans: readonly FaultPlan[], recovery: Recovery): string | undefined {
  const started: TimelineEvent = { at_ms: 0, lane: "run", kind: "run.started", scenario: "", recovery, seed: 0 };
  const struck = plans.map(({ fault }, index): TimelineEvent => {
    return { at_ms: 0, lane: "fault", kind: "fault.injected", fault: fault.fault, id: faultId(index), what: "" };
  });
  // What heals is listened to only once its fault has struck.
  const [found] = [[started], [started, ...struck]].flatMap((events) => hopelessTriggers(plans, events));
  return found?.why.replaceAll(NOT_ANY_MORE, "which never comes");
}

/** The same, event by event: a function of the scenario's faults and of what it has seen. */
export class Outlook {
  readonly #plans: readonly FaultPlan[];
  readonly #goes_on_protected: boolean;
  readonly #faults: readonly FaultState[];
  readonly #steps = new Set<ProtocolStep>();
  readonly #hosts_gone = new Set<HostRole>();
  readonly #qemus_gone = new Set<HostRole>();
  #recovery = "";
  #switched = false;
  #handed_off = false;
  /** It was said to be on when the VM had been handed off, or restored. */
  #protected_since = false;
  #restored_on: string | undefined;

  constructor(plans: readonly FaultPlan[], { goes_on_protected = false }: Carrying = {}) {
    this.#plans = plans;
    this.#goes_on_protected = goes_on_protected;
    this.#faults = plans.map(() => ({
      at_fired: false,
      injected: false,
      heal_fired: false,
      healed: false,
      failed: undefined,
      steps_before: new Set<string>(),
    }));
  }

  see(event: TimelineEvent): void {
    this.#seeWorld(event);
    for (const [index, state] of this.#faults.entries()) {
      const plan = this.#plans[index];
      if (plan === undefined) continue;
      const id = faultId(index);
      if (!state.at_fired && this.#since(plan.at) && fires(plan.at, event)) state.at_fired = true;
      if (event.kind === "fault.injected" && event.id === id) {
        state.injected = true;
        // What its healing waits for may have been already, and is so still.
        if (plan.heal !== undefined && this.#hasBeen(plan.heal)) state.heal_fired = true;
        state.steps_before = new Set(this.#steps);
      }
      if (event.kind === "fault.healed" && event.id === id) state.healed = true;
      if (event.kind === "fault.failed" && event.id === id) state.failed = event.error;
      if (state.injected && plan.heal !== undefined && this.#since(plan.heal) && fires(plan.heal, event))
        state.heal_fired = true;
    }
  }

  /** Whether a trigger waits for what has become of a fault already. */
  #hasBeen(trigger: Trigger): boolean {
    if (!isOfFault(trigger)) return false;
    const of = this.#faults[trigger.index];
    return of !== undefined && (trigger.on === "fault" ? of.injected : of.healed);
  }

  /** Whether a trigger that counts only since a fault has struck counts by now. */
  #since(trigger: Trigger): boolean {
    if (trigger.on !== "step" || trigger.since === undefined) return true;
    return this.#faults[trigger.since]?.injected === true;
  }

  #seeWorld(event: TimelineEvent): void {
    switch (event.kind) {
      case "run.started":
        this.#recovery = event.recovery;
        return;
      case "migration.step":
        this.#steps.add(event.step);
        if (event.step === "switchover" || event.step === "target-running") this.#switched = true;
        return;
      case "host.gone":
        this.#hosts_gone.add(event.lane as HostRole);
        return;
      case "qemu.started":
        this.#qemus_gone.delete(event.lane as HostRole);
        return;
      case "qemu.exited":
        this.#qemus_gone.add(event.lane as HostRole);
        return;
      case "handoff":
        this.#handed_off = true;
        return;
      case "protection":
        // Whatever was asked for: who protects a VM that was handed off, or restored, goes on with it.
        if (event.state === "on" && (this.#carried || this.#restored_on !== undefined)) this.#protected_since = true;
        return;
      case "restore.running":
        this.#restored_on = event.lane;
        return;
      default:
    }
  }

  /** Those that wait in vain, in the order of the scenario's list. */
  hopeless(): readonly Hopeless[] {
    return this.#plans.flatMap((plan, index): Hopeless[] => {
      const state = this.#faults[index];
      if (state === undefined || state.failed !== undefined) return [];
      const name = `fault ${index} (${plan.fault.fault}, ${whereOf(plan.fault)})`;
      if (!state.at_fired && !state.injected) {
        const why = this.#cannotCome(plan.at, new Set([index]));
        if (why === undefined) return [];
        const text = `${name} waits for "${triggerText(plan.at)}", ${NOT_ANY_MORE}: ${why}`;
        return [{ index, waits: "to strike", why: text }];
      }
      if (plan.heal === undefined || !state.injected || state.heal_fired) return [];
      const why = this.#cannotHeal(plan.heal, state);
      if (why === undefined) return [];
      const text = `${name} is to be healed at "${triggerText(plan.heal)}", ${NOT_ANY_MORE}: ${why}`;
      return [{ index, waits: "to be healed", why: text }];
    });
  }

  /** As below, for a trigger that is listened to only since its fault struck: what was there before is missed. */
  #cannotHeal(trigger: Trigger, state: FaultState): string | undefined {
    // A step that a migration comes to once cannot heal what struck after it.
    if (trigger.on === "step" && stepOf(trigger.step).once === true && state.steps_before.has(trigger.step))
      return `the step ${trigger.step} had come before the fault struck, and comes once`;
    return this.#cannotCome(trigger, new Set());
  }

  #cannotCome(trigger: Trigger, asked: ReadonlySet<number>): string | undefined {
    switch (trigger.on) {
      case "fault":
        return this.#neverStrikes(trigger.index, asked);
      case "healed":
        return this.#neverHealed(trigger.index, asked);
      case "step":
        return (
          (trigger.since === undefined ? undefined : this.#neverStrikes(trigger.since, asked)) ??
          this.#silenced(trigger.by) ??
          this.#noStep(trigger.step)
        );
      case "pages":
      case "requests":
      case "bytes":
        return this.#migrationOver() ?? this.#handedOff("the target has every page");
      case "transactions":
        return this.#noStep("transaction-committed");
    }
  }

  #neverStrikes(index: number, asked: ReadonlySet<number>): string | undefined {
    const [plan, state] = [this.#plans[index], this.#faults[index]];
    if (plan === undefined || state === undefined) return `the scenario has no fault ${index}`;
    if (asked.has(index)) return `fault ${index} waits for it in turn`;
    if (state.injected) return undefined;
    if (state.failed !== undefined) return `fault ${index} did not strike: ${state.failed}`;
    if (state.at_fired) return undefined;
    const why = this.#cannotCome(plan.at, new Set([...asked, index]));
    return why === undefined ? undefined : `fault ${index} cannot strike any more: ${why}`;
  }

  #neverHealed(index: number, asked: ReadonlySet<number>): string | undefined {
    const [plan, state] = [this.#plans[index], this.#faults[index]];
    if (plan === undefined || state === undefined) return `the scenario has no fault ${index}`;
    if (plan.heal === undefined) return `fault ${index} is not to be healed`;
    if (state.healed) return undefined;
    if (state.failed !== undefined) return `fault ${index} did not strike, or was not healed: ${state.failed}`;
    const why = this.#neverStrikes(index, asked);
    if (why !== undefined || !state.injected || state.heal_fired || asked.has(index)) return why;
    const unhealed = this.#cannotHeal(plan.heal, state);
    return unhealed === undefined ? undefined : `fault ${index} cannot be healed any more: ${unhealed}`;
  }

  #noStep(name: StepName): string | undefined {
    const { part, under } = stepOf(name);
    if (under === "txsync" && this.#recovery === "stock") return "no agent is there to tell of it";
    if (under === "stock" && this.#recovery === "txsync") return "under txsync QEMU's stream is never paused";
    switch (part) {
      case "migration":
        return this.#noMigrationStep(name);
      case "protection":
        return this.#protectionOver();
      case "vote":
        return name.startsWith("lease") ? undefined : this.#noVote();
      case "restore":
        return this.#noRestore() ?? this.#noVote();
      case "takeover":
        if (this.#hosts_gone.has("escrow")) return "the escrow's host is dead";
        return this.#migrationOver() ?? this.#handedOff("the target has every page");
      case "handoff":
        return this.#migrationOver();
    }
  }

  #noMigrationStep(step: StepName): string | undefined {
    if (step === "failed") return this.#handedOff("the migration went well") ?? this.#restored();
    if (step === "completed") return this.#migrationOver();
    return this.#migrationOver() ?? this.#handedOff("the migration is at its end");
  }

  /** The only one who would tell of it is dead. */
  #silenced(by: HostRole | undefined): string | undefined {
    return by !== undefined && this.#hosts_gone.has(by) ? `the ${by}'s host is dead` : undefined;
  }

  /** Nothing moves from source to target any more, nor ever will. */
  #migrationOver(): string | undefined {
    // Before anything was broken a migration that was given up is asked for again, with another QEMU.
    const struck = this.#faults.some(({ injected }) => injected);
    const restored = this.#restored();
    if (restored !== undefined) return restored;
    if (!struck) return undefined;
    if (this.#hosts_gone.has("target")) return "the target's host is dead";
    if (this.#qemus_gone.has("target")) return "the target's QEMU is dead";
    if (this.#switched) return undefined;
    if (this.#hosts_gone.has("source")) return "the source's host died before switchover, and the VM with it";
    if (this.#qemus_gone.has("source")) return "the source's QEMU died before switchover, and the VM with it";
    return undefined;
  }

  #restored(): string | undefined {
    return this.#restored_on === undefined
      ? undefined
      : `the VM was restored on ${this.#restored_on}, and this migration is over`;
  }

  /**
   * Every page is on the target: nothing of the migration itself comes any more. Agents tell of their steps by another way
   * than QEMU of its end, and either may be heard first: what the target's agent told before its last step has come with that.
   */
  get #carried(): boolean {
    if (this.#handed_off) return true;
    return this.#steps.has("completed") && (this.#recovery !== "txsync" || this.#steps.has("completing"));
  }

  #handedOff(what: string): string | undefined {
    return this.#carried ? what : undefined;
  }

  /** What is known of protection says that it may go on, or begin anew. */
  get #staysProtected(): boolean {
    return this.#goes_on_protected || this.#protected_since;
  }

  #protectionOver(): string | undefined {
    if (this.#staysProtected) return undefined;
    if (this.#restored_on !== undefined) return `the VM was restored on ${this.#restored_on}, and is protected no more`;
    return this.#handedOff("the VM was handed off, and is protected no more");
  }

  /** A VM that stays protected is restored whenever it breaks: after the handoff, and after a restore. */
  #noRestore(): string | undefined {
    if (this.#staysProtected) return undefined;
    return this.#restored() ?? this.#handedOff("the VM was handed off, and nothing is restored any more");
  }

  #noVote(): string | undefined {
    return this.#hosts_gone.size >= 2 ? "two of the three hosts are dead, and nobody wins a vote" : undefined;
  }
}
