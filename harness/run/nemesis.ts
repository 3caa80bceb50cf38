import { messageOf } from "../base/errors.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { pause, within } from "../base/wait.ts";
import { type FaultContext, type Heal, inject, prepare, whereOf } from "../faults/index.ts";
import { type Carrying, type Hopeless, Outlook } from "./hopeless.ts";
import type { FaultPlan, Trigger } from "./scenario.ts";
import type { Timeline } from "./timeline.ts";
import { faultId, fires, isOfFault, triggerText } from "./trigger.ts";

/** One deed: a signal, a command to the engine, a change of a link. It takes as long for a large guest as for a small one. */
const DEED_MS = 60_000;

/** A fault that waits for its trigger. */
interface Listener {
  readonly index: number;
  readonly waits: Hopeless["waits"];
  readonly trigger: Trigger;
  readonly resolve: () => void;
  readonly reject: (why: unknown) => void;
}

/** Injects a scenario's faults when their triggers fire, and heals them; those whose trigger cannot come it gives up. */
export class Nemesis {
  readonly #plans: readonly FaultPlan[];
  readonly #timeline: Timeline;
  readonly #context: FaultContext;
  readonly #abort = new AbortController();
  readonly #outlook: Outlook;
  readonly #listeners = new Set<Listener>();
  /** Of which the moment has come: they wait for their offset, or are being done. */
  readonly #due = new Set<number>();
  readonly #noneDue: (() => void)[] = [];
  readonly #work: Promise<void>[];
  #pending: number;
  #struck = false;
  readonly #toHeal = new Set<number>();
  /** What a run came to before it was stopped. */
  #settled: string | undefined;

  /** Starts to watch the timeline at once; what stands on it already counts for what can still come. */
  constructor(plans: readonly FaultPlan[], timeline: Timeline, context: FaultContext, carrying: Carrying = {}) {
    this.#plans = plans;
    this.#timeline = timeline;
    this.#context = { ...context, emit: timeline.emit };
    this.#pending = plans.length;
    this.#outlook = new Outlook(plans, carrying);
    for (const event of timeline.events) this.#outlook.see(event);
    const stop = timeline.onEvent((event) => this.#see(event));
    this.#abort.signal.addEventListener("abort", stop, { once: true });
    this.#work = plans.map((plan, index) => this.#play(plan, index));
    this.#giveUp();
  }

  /** Puts in place what the faults need; to be awaited before the migration begins. @throws what goes wrong in it */
  async prepare(): Promise<void> {
    for (const { fault } of this.#plans) {
      const what = `what ${fault.fault} (${whereOf(fault)}) needs to be in place`;
      await within({ what, timeout_ms: DEED_MS }, prepare(fault, this.#context));
    }
  }

  /** Whether every fault has been injected, and healed where it is to be, or never will be. */
  get done(): boolean {
    return this.#pending === 0;
  }

  /** Whether any fault has been injected. */
  get struck(): boolean {
    return this.#struck;
  }

  /** Whether a fault is to strike whose moment has come: only its offset is waited for. */
  get due(): boolean {
    return this.#due.size > 0;
  }

  /** Whether something is broken that is to be healed, and may be yet: what it took away may come back. */
  get healing(): boolean {
    return this.#toHeal.size > 0;
  }

  /**
   * Resolves once no fault is on its way any more whose moment has come: its offset may be longer than the migration, and the
   * run is not over before it. Those that still wait for their moment are not waited for.
   * @throws what the signal was aborted with
   */
  async dueStruck(signal: AbortSignal): Promise<void> {
    while (this.#due.size > 0) {
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        const interrupted = (): void => reject(signal.reason);
        signal.addEventListener("abort", interrupted, { once: true });
        this.#noneDue.push(() => {
          signal.removeEventListener("abort", interrupted);
          resolve();
        });
      });
    }
  }

  /**
   * Stops watching; a fault that has not struck by now never will.
   * @param settled what the run came to, where it did: said of whatever has waited for its moment until then
   */
  async stop(settled?: string): Promise<void> {
    this.#settled = settled;
    this.#abort.abort();
    for (const { reject } of [...this.#listeners]) reject(this.#abort.signal.reason);
    await Promise.all(this.#work);
  }

  async #play(plan: FaultPlan, index: number): Promise<void> {
    const { fault } = plan.fault;
    const id = faultId(index);
    const what = `${fault}: ${whereOf(plan.fault)}`;
    const emit = this.#timeline.emit;
    try {
      await this.#when(index, "to strike", plan.at);
      const healed = plan.heal ? this.#when(index, "to be healed", plan.heal) : undefined;
      healed?.catch(() => undefined);
      let heal: Heal | undefined;
      this.#struck = true;
      if (plan.heal !== undefined) this.#toHeal.add(index);
      // The event comes before the deed: what the deed causes must not stand before it on the timeline.
      emit("fault", { kind: "fault.injected", fault, id, what });
      heal = await within(
        { what: `the fault ${what} to strike`, timeout_ms: DEED_MS },
        inject(plan.fault, { ...this.#context, id }),
      );
      this.#isNotDue(index);
      if (healed) {
        await healed;
        await within({ what: `the fault ${what} to be healed`, timeout_ms: DEED_MS }, Promise.resolve(heal?.()));
        emit("fault", { kind: "fault.healed", fault, id });
      }
    } catch (error) {
      const why = this.#abort.signal.aborted ? this.#neverCame(plan, index) : messageOf(error);
      if (why !== undefined) emit("fault", { kind: "fault.failed", fault, id, error: why });
    } finally {
      this.#toHeal.delete(index);
      this.#isNotDue(index);
      this.#pending -= 1;
    }
  }

  /** Of a run that was settled: why a fault has not struck by then; undefined where it has, or nothing was settled. */
  #neverCame({ fault, at }: FaultPlan, index: number): string | undefined {
    const struck = this.#timeline.events.some(
      (event) => event.kind === "fault.injected" && event.id === faultId(index),
    );
    if (struck || this.#settled === undefined) return undefined;
    const name = `fault ${index} (${fault.fault}, ${whereOf(fault)})`;
    return `${name} waits for "${triggerText(at)}", which had not come when the run was settled: ${this.#settled}`;
  }

  #isNotDue(index: number): void {
    if (!this.#due.delete(index) || this.#due.size > 0) return;
    for (const resolve of this.#noneDue.splice(0)) resolve();
  }

  async #when(index: number, waits: Hopeless["waits"], trigger: Trigger): Promise<void> {
    const since = trigger.on === "step" ? trigger.since : undefined;
    if (since !== undefined) await this.#heard(index, waits, { on: "fault", index: since });
    await this.#heard(index, waits, trigger);
    if (trigger.after_ms !== undefined) await pause(trigger.after_ms, this.#abort.signal);
  }

  #heard(index: number, waits: Hopeless["waits"], trigger: Trigger): Promise<void> {
    this.#abort.signal.throwIfAborted();
    // What another fault has come to stays so: what waits for it begins to wait when it has been already, too.
    if (isOfFault(trigger) && this.#timeline.events.some((event) => fires(trigger, event))) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      const listener: Listener = {
        index,
        waits,
        trigger,
        resolve: () => {
          this.#listeners.delete(listener);
          resolve();
        },
        reject: (why) => {
          this.#listeners.delete(listener);
          reject(why);
        },
      };
      this.#listeners.add(listener);
    });
  }

  #see(event: TimelineEvent): void {
    this.#outlook.see(event);
    for (const { index, waits, trigger, resolve } of [...this.#listeners]) {
      if (!fires(trigger, event)) continue;
      const plan = this.#plans[index];
      if (waits === "to strike" && trigger === plan?.at) this.#due.add(index);
      resolve();
    }
    this.#giveUp();
  }

  /** What waits in vain waits no longer: the run need not. */
  #giveUp(): void {
    if (this.#listeners.size === 0) return;
    for (const { index, waits, why } of this.#outlook.hopeless()) {
      for (const listener of [...this.#listeners])
        if (listener.index === index && listener.waits === waits) listener.reject(new Error(why));
    }
  }
}
