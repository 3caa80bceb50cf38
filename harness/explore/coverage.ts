import type { Recovery } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { Scenario } from "../run/scenario.ts";
import { isStep, STEP_NAMES, type StepName, stepOf } from "../run/steps.ts";
import { faultId } from "../run/trigger.ts";

/** By what way the VM came to where it is: what the run was for. */
export const PATHS = {
  txsync: [
    "carried over",
    "never left",
    "pages by way of the escrow",
    "pages of the escrow",
    "unprotected",
    "protection begun anew",
    "QEMU's stream resumed",
    "restored on source",
    "restored on target",
    "restored again",
    "goes on from its package",
    "succeeded and closed out",
  ],
  stock: ["carried over", "never left", "QEMU's stream resumed", "given up"],
} as const satisfies Readonly<Record<Recovery, readonly string[]>>;
export type Path = (typeof PATHS)[Recovery][number];

/** What one run was at: the steps that it came to, what struck at which of them, and the ways that it took. */
export interface Trace {
  readonly recovery: Recovery;
  readonly steps: readonly StepName[];
  /** `fault at step`: the last step that had come when it struck. */
  readonly struck: readonly string[];
  readonly paths: readonly Path[];
}

/** Takes note of a run as it goes. */
export class Tracer {
  readonly #scenario: Pick<Scenario, "faults">;
  readonly #recovery: Recovery;
  readonly #steps = new Set<StepName>();
  readonly #struck = new Set<string>();
  readonly #paths = new Set<Path>();
  #last: StepName | "start" = "start";
  #restores = 0;
  #protected = 0;

  constructor(scenario: Pick<Scenario, "faults">, recovery: Recovery) {
    this.#scenario = scenario;
    this.#recovery = recovery;
  }

  see(event: TimelineEvent): void {
    for (const name of STEP_NAMES) {
      if (!isStep(name, event)) continue;
      this.#steps.add(name);
      // Transactions, words and notes come all the time: of them the last says little, and a step of the way much.
      if (stepOf(name).part !== "protection" || this.#last === "start") this.#last = name;
    }
    if (event.kind === "fault.injected") {
      const index = this.#scenario.faults.findIndex((_, at) => faultId(at) === event.id);
      const plan = this.#scenario.faults[index];
      // At a step it strikes there; at a count, wherever the run is by then.
      const at = plan?.at.on === "step" ? plan.at.step : this.#last;
      this.#struck.add(`${event.fault} at ${at}`);
    }
    this.#seePath(event);
  }

  #seePath(event: TimelineEvent): void {
    const path = (name: Path): void => void this.#paths.add(name);
    switch (event.kind) {
      case "pages.route":
        if (event.route.includes("escrow")) path("pages by way of the escrow");
        return;
      case "takeover.served":
        path("pages of the escrow");
        return;
      case "protection":
        if (event.state === "off") path("unprotected");
        else {
          this.#protected += 1;
          if (this.#protected > 1) path("protection begun anew");
        }
        return;
      case "migration.step":
        if (event.step === "recovering") path("QEMU's stream resumed");
        return;
      case "restore.running":
        this.#restores += 1;
        if (this.#restores > 1) path("restored again");
        path(event.lane === "target" ? "restored on target" : "restored on source");
        return;
      case "generation.closed":
        path("succeeded and closed out");
        return;
      case "run.settled":
        if (event.owner === "target" && this.#restores === 0) path("carried over");
        else if (event.owner === "source" && this.#restores === 0)
          path(
            this.#steps.has("switchover")
              ? this.#recovery === "stock"
                ? "given up"
                : "goes on from its package"
              : "never left",
          );
        else if (event.owner === "none" && this.#recovery === "stock") path("given up");
        return;
      default:
    }
  }

  get trace(): Trace {
    return {
      recovery: this.#recovery,
      steps: [...this.#steps],
      struck: [...this.#struck],
      paths: [...this.#paths],
    };
  }
}

/** What all runs together were at, and how often. */
export class Coverage {
  readonly #seen = new Map<string, number>();

  add({ recovery, steps, struck, paths }: Trace): void {
    for (const step of steps) this.#count(`${recovery} step ${step}`);
    for (const what of struck) this.#count(`${recovery} struck ${what}`);
    for (const path of paths) this.#count(`${recovery} path ${path}`);
    for (const what of struck) for (const path of paths) this.#count(`${recovery} cell ${what}, ${path}`);
  }

  #count(key: string): void {
    this.#seen.set(key, (this.#seen.get(key) ?? 0) + 1);
  }

  times(recovery: Recovery, kind: "step" | "struck" | "path", what: string): number {
    return this.#seen.get(`${recovery} ${kind} ${what}`) ?? 0;
  }

  /** How many places (a fault at a step, on a way) were seen at all. */
  get cells(): number {
    return [...this.#seen.keys()].filter((key) => key.includes(" cell ")).length;
  }

  /** How new a schedule promises to be: the less often its faults struck at their moments, the more. */
  novelty({ faults }: Scenario, recovery: Recovery): number {
    return faults.reduce((sum, { fault, at }) => {
      const step = at.on === "step" ? at.step : "target-running";
      const before = this.times(recovery, "struck", `${fault.fault} at ${step}`);
      return sum + 1 / (1 + before) + 0.5 / (1 + this.times(recovery, "step", step));
    }, 0);
  }
}
