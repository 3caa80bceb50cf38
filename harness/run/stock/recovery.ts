import type { HostRole } from "../../base/timeline.ts";
import type { FaultContext } from "../../faults/index.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { configurationOf, managerOf, planOf } from "../configure.ts";
import type { Workload } from "../guests/guest.ts";
import { startPlainVm } from "../plain-vm.ts";
import type { RecoveryUnderTest, RunContext } from "../recovery.ts";
import type { Settled } from "../settled.ts";
import type { ManagerContext } from "./managers/manager.ts";
import { NoManager } from "./managers/none.ts";
import { EagerQmpManager } from "./managers/qmp.ts";
import { StockMigration } from "./migration.ts";
import { Switch } from "./switch.ts";

/** QEMU alone, with a manager of the harness's that drives it over its monitors. Its output goes straight to the world. */
export class StockRecovery implements RecoveryUnderTest {
  protected readonly context: RunContext;
  #switch: Switch | undefined;
  #sides: { readonly source: StartedVm; readonly target: StartedVm } | undefined;

  constructor(context: RunContext) {
    this.context = context;
  }

  async start(): Promise<StartedVm> {
    const paused = this.context.request.scenario.migration.hold_target === true;
    const [source, target] = await Promise.all([
      startPlainVm(this.context, "source", { incoming: false, paused: false }),
      startPlainVm(this.context, "target", { incoming: true, paused }),
    ]);
    this.#sides = { source, target };
    return source;
  }

  lead(clients: Workload): (owner: HostRole | "none") => void {
    const { timeline, vms } = this.context;
    clients.moveTo(vms.get("source"));
    const stop = timeline.onEvent((event) => {
      if (event.kind === "migration.step" && event.step === "target-running") clients.moveTo(vms.get("target"));
    });
    return (owner) => {
      stop();
      clients.moveTo(owner === "none" ? undefined : vms.get(owner));
    };
  }

  cable(): Switch {
    this.#switch ??= new Switch((role) => this.context.fleet.host(role));
    return this.#switch;
  }

  readonly pid: FaultContext["pid"] = (role, process) => {
    const vm = this.context.vms.get(role);
    return process === "qemu" && vm?.alive ? vm.process.pid : undefined;
  };

  daemon(): undefined {}

  async migrate(): Promise<Settled> {
    if (this.#sides === undefined) throw new Error("no VM was started");
    const { request, timeline, looking } = this.context;
    const { source, target } = this.#sides;
    const context: ManagerContext = {
      source,
      target,
      plan: planOf(request),
      configuration: configurationOf(request),
      timeline,
    };
    const manager = managerOf(request) === "none" ? new NoManager(context) : new EagerQmpManager(context);
    return await new StockMigration({ ...context, manager, patience_ms: looking.patience_ms }).run();
  }

  async succeeded(): Promise<Record<never, never>> {
    return {};
  }

  async count(): Promise<void> {}

  async release(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.#switch?.[Symbol.dispose]();
  }
}
