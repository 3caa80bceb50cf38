import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import { type FaultContext, type Heal, inject, whereOf } from "../faults/index.ts";
import type { FaultPlan, Trigger } from "./scenario.ts";
import type { Timeline } from "./timeline.ts";
import { faultId, fires } from "./trigger.ts";

/** Injects a scenario's faults when their triggers fire, and heals them. */
export class Nemesis {
  readonly #timeline: Timeline;
  readonly #context: FaultContext;
  readonly #abort = new AbortController();
  readonly #work: Promise<void>[];
  #pending: number;
  readonly #injected_ms: number[] = [];

  /** Starts to watch the timeline at once. */
  constructor(plans: readonly FaultPlan[], timeline: Timeline, context: FaultContext) {
    this.#timeline = timeline;
    this.#context = context;
    this.#pending = plans.length;
    this.#work = plans.map((plan, index) => this.#play(plan, faultId(index)));
  }

  /** Whether every fault has been injected, and healed where it is to be. */
  get done(): boolean {
    return this.#pending === 0;
  }

  /** Whether any fault has been injected. */
  get struck(): boolean {
    return this.#injected_ms.length > 0;
  }

  /** Stops watching; a fault that has not struck by now never will. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#work);
  }

  async #play(plan: FaultPlan, id: string): Promise<void> {
    const { fault } = plan.fault;
    const emit = this.#timeline.emit;
    try {
      await this.#when(plan.at);
      const healed = plan.heal ? this.#when(plan.heal) : undefined;
      healed?.catch(() => undefined);
      let heal: Heal | undefined;
      // The event comes before the deed: what the deed causes must not stand before it on the timeline.
      this.#injected_ms.push(this.#timeline.now_ms);
      emit("fault", { kind: "fault.injected", fault, id, what: `${fault}: ${whereOf(plan.fault)}` });
      heal = await inject(plan.fault, this.#context);
      if (healed) {
        await healed;
        await heal?.();
        emit("fault", { kind: "fault.healed", fault, id });
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) emit("fault", { kind: "fault.failed", fault, id, error: messageOf(error) });
    } finally {
      this.#pending -= 1;
    }
  }

  async #when(trigger: Trigger): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const stop = this.#timeline.onEvent((event) => {
        if (!fires(trigger, event)) return;
        stop();
        resolve();
      });
      this.#abort.signal.addEventListener("abort", () => {
        stop();
        reject(this.#abort.signal.reason);
      });
    });
    if (trigger.after_ms !== undefined) await delay(trigger.after_ms, undefined, { signal: this.#abort.signal });
  }
}
