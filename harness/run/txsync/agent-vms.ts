import type { Emit, HostRole } from "../../base/timeline.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import { type LogSink, type QemuProcess, StartedVm } from "../../fleet/vm.ts";
import { stepOfStatus } from "../../qemu/migration-api.ts";
import { traits, versionOfGreeting } from "../../qemu/versions.ts";
import type { Edge } from "./edge.ts";

/** A QEMU that an agent started: its end is told by the agent, or by its monitor. */
class AgentQemu implements QemuProcess {
  readonly pid: number;
  readonly exited: Promise<number | null>;
  readonly #exit: (code: number | null) => void;
  #gone = false;
  #last: readonly string[] = [];

  constructor(pid: number) {
    this.pid = pid;
    const { promise, resolve } = Promise.withResolvers<number | null>();
    this.exited = promise;
    this.#exit = resolve;
  }

  get gone(): boolean {
    return this.#gone;
  }

  ended(last_lines: readonly string[] = []): void {
    // Its monitor tells of its end before its agent does, and without a word.
    if (this.#last.length === 0) this.#last = last_lines;
    if (this.#gone) return;
    this.#gone = true;
    this.#exit(null);
  }

  lastLines(count = 12): readonly string[] {
    return this.#last.slice(-count);
  }

  [Symbol.dispose](): void {}
}

export interface AgentVmsOptions {
  readonly fleet: StartedFleet;
  readonly edge: Edge;
  readonly emit: Emit;
  readonly log: (role: HostRole) => LogSink;
  /** Kept up to date: the VM of each host that has one. */
  readonly vms: Map<HostRole, StartedVm>;
}

/** Follows the QEMUs that agents start and end, for whoever watches the run. It never tells them anything. */
export class AgentVms {
  readonly #options: AgentVmsOptions;
  readonly #processes = new Map<HostRole, AgentQemu>();
  readonly #arrived = new Map<HostRole, Promise<StartedVm>>();
  readonly #steps = new Set<string>();

  constructor(options: AgentVmsOptions) {
    this.#options = options;
  }

  /** An agent tells of a new QEMU. */
  started(role: HostRole, pid: number): void {
    if (this.#processes.get(role)?.pid === pid && !this.#processes.get(role)?.gone) return;
    this.#processes.get(role)?.ended();
    const process = new AgentQemu(pid);
    this.#processes.set(role, process);
    const { fleet, edge, emit, log, vms } = this.#options;
    const arrived = StartedVm.adopt(fleet.host(role), process, {
      emit,
      log: log(role),
      com2: async () => edge.line(1),
    });
    this.#arrived.set(role, arrived);
    arrived.then(
      (vm) => {
        if (process.gone || this.#processes.get(role) !== process) return;
        vms.set(role, vm);
        this.#watch(role, vm, process);
      },
      () => undefined,
    );
  }

  ended(role: HostRole, last_lines: readonly string[]): void {
    this.#processes.get(role)?.ended(last_lines);
  }

  /** The VM of a host once its monitors answer. @throws Error when none was started there, or it does not answer. */
  async of(role: HostRole): Promise<StartedVm> {
    const arrived = this.#arrived.get(role);
    if (arrived === undefined) throw new Error(`no VM was started on ${role}`);
    return await arrived;
  }

  pid(role: HostRole): number | undefined {
    const process = this.#processes.get(role);
    return process === undefined || process.gone ? undefined : process.pid;
  }

  /** Steps of the protocol that no agent tells, because QEMU does. */
  #watch(role: HostRole, vm: StartedVm, process: AgentQemu): void {
    vm.watch.closed.then(
      () => process.ended(),
      () => process.ended(),
    );
    if (role !== "source" && role !== "target") return;
    let previous = "";
    vm.watch.on((event) => {
      if (event.kind !== "migration") return;
      this.#options.emit("migration", { kind: "migration.status", side: role, status: event.status });
      const step = stepOfStatus(role, event.status, previous, traits(versionOfGreeting(vm.watch.version)));
      previous = event.status;
      const told = step === "setup" || step === "precopy" || (step === "completed" && role === "target");
      if (!told || this.#steps.has(step)) return;
      this.#steps.add(step);
      this.#options.emit("migration", { kind: "migration.step", step });
    });
  }
}
