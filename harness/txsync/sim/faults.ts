import type { Action, Role } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { crashAgent, loseMemory, startAgent } from "./hosts.ts";
import type { Fault } from "./schedule.ts";

/** Strikes with the schedule's faults: at their time, or when an agent takes the step that they wait for. */
export class Faults {
  readonly #cluster: Cluster;
  readonly #armed: { fault: Fault; count: number }[] = [];
  /** When the last fault known so far is over. */
  quiet_ms = 0;
  /** The only fault is one cut link, and the target's VM was running when it came. */
  ranWhenCut = false;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  begin(): void {
    for (const fault of this.#cluster.schedule.faults) {
      if ("at_ms" in fault.when) {
        this.quiet_ms = Math.max(this.quiet_ms, fault.when.at_ms + lengthOf(fault));
        this.#cluster.at(fault.when.at_ms, () => this.#inject(fault));
      } else this.#armed.push({ fault, count: fault.when.count });
    }
  }

  /** What has not struck by now does not strike any more. */
  disarm(): void {
    this.#armed.length = 0;
  }

  noteAction(role: Role, { kind }: Action): void {
    for (let i = this.#armed.length - 1; i >= 0; i -= 1) {
      const armed = this.#armed[i];
      if (armed === undefined) continue;
      const { fault } = armed;
      const { when } = fault;
      if ("at_ms" in when || when.by !== role || when.after !== kind) continue;
      armed.count -= 1;
      if (armed.count > 0) continue;
      this.#armed.splice(i, 1);
      this.quiet_ms = Math.max(this.quiet_ms, this.#cluster.now_ms + when.plus_ms + lengthOf(fault));
      this.#cluster.at(when.plus_ms, () => this.#inject(fault));
    }
  }

  #inject(fault: Fault): void {
    const cluster = this.#cluster;
    cluster.trace?.push(`${cluster.now_ms.toFixed(1)} FAULT ${JSON.stringify(fault)}`);
    switch (fault.kind) {
      case "cut": {
        const { pair, direction, for_ms } = fault;
        const only = cluster.schedule.faults.length === 1 && !cluster.schedule.nervous;
        this.ranWhenCut = only && cluster.hosts.target.state.vm === "running";
        cluster.network.cut(pair, direction);
        if (for_ms !== null) cluster.at(for_ms, () => cluster.network.heal(pair, direction));
        return;
      }
      case "crash-agent": {
        const host = cluster.hosts[fault.role];
        if (!host.up || !host.agentUp) return;
        crashAgent(cluster, host);
        if (fault.for_ms === null) host.everBack = false;
        else cluster.at(fault.for_ms, () => startAgent(cluster, host));
        return;
      }
      case "kill-host": {
        const host = cluster.hosts[fault.role];
        loseMemory(cluster, host);
        host.up = false;
        return;
      }
      case "reboot-host": {
        const host = cluster.hosts[fault.role];
        if (!host.up) return;
        loseMemory(cluster, host);
        host.up = false;
        cluster.at(fault.for_ms, () => {
          host.up = true;
          host.agentUp = false;
          startAgent(cluster, host);
        });
        return;
      }
      case "freeze-host": {
        const host = cluster.hosts[fault.role];
        host.frozenUntil_ms = Math.max(host.frozenUntil_ms, cluster.now_ms + fault.for_ms);
        return;
      }
      case "kill-qemu": {
        const host = cluster.hosts[fault.role];
        if (!host.up || (host.vm === null && host.state.vm !== "incoming" && host.state.vm !== "loading")) return;
        if (host.vm !== null) host.frames = host.vm.frames;
        host.vm = null;
        host.qemu += 1;
        host.dying = true;
        const { life } = host;
        cluster.at(1 + cluster.random.int(0, 15), () => {
          host.dying = false;
          if (host.life === life) cluster.event(fault.role, { kind: "qemuGone" });
        });
        return;
      }
    }
  }
}

function lengthOf(fault: Fault): number {
  return "for_ms" in fault ? (fault.for_ms ?? 0) : 0;
}
