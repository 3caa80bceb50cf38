import { type Action, frameNumber } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import { Violation } from "./oracle.ts";
import { storeRecord, writePromise } from "./storage.ts";

/** The shell of a simulated agent: does what its core wants done. */
export function act(cluster: Cluster, host: Host, action: Action): void {
  const { vm, network, faults, oracle, random } = cluster;
  switch (action.kind) {
    case "send":
      // The package leaves with the VM's state: what stands here is only its corpse.
      if (action.message.kind === "package") host.vm = null;
      network.send(host, action.to, action.message);
      return;
    case "setTimer":
      cluster.later(host, action.delay_ms / host.clockRate, { kind: "timer", timer: action.timer });
      return;
    case "persistPromise":
      writePromise(cluster, host, action.durable);
      return;
    case "startMigration":
      cluster.later(host, 20 + random.int(0, 60), { kind: "output", upTo: frameNumber(host.vm?.frames.length ?? 0) });
      vm.captureLater(host);
      return;
    case "cancelMigration":
      if (host.vm !== null) host.vm.running = true;
      return;
    case "loadPackage":
      vm.load(host);
      return;
    case "takeTransaction":
      vm.take(host, action);
      return;
    case "forgetRecord":
    case "dropRecord":
      host.bodies.delete(action.generation * 10_000 + action.n);
      return;
    case "storeRecord":
      storeRecord(cluster, host, action.header);
      return;
    case "releaseOutput":
      vm.release(host, action);
      return;
    case "startRestore":
      vm.restore(host, action);
      return;
    case "abortRestore":
    case "stopQemu":
      host.vm = null;
      host.qemu += 1;
      return;
    case "runQemu":
      vm.run(host);
      return;
    case "finish":
      if (host.role === "source") host.hasBase = false;
      if (host.role === "escrow") host.log = [];
      return;
    case "setPageRoute":
      cluster.path += `${action.route} `;
      return;
    case "report":
      if (action.report.what === "violation") throw new Violation(1, action.report.why);
      if (action.report.what === "generation-opened") {
        const { descriptor } = action.report;
        cluster.path += `${descriptor.owner}:${descriptor.mode} `;
        if (descriptor.mode === "claim" && faults.ranWhenCut) {
          throw new Violation(4, "one cut link cost a working VM its place");
        }
        oracle.opened(descriptor, host.role, host.state);
      }
      return;
    case "startPageServer":
    case "stopPageServer":
      return;
  }
}
