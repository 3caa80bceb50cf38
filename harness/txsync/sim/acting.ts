import { type Action, frameNumber, type Report } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import { isSabotaged } from "./model.ts";
import { Violation } from "./oracle.ts";
import { keyOf, storeRecord, writePromise } from "./storage.ts";

/** The shell of a simulated agent: does what its core wants done. */
export function act(cluster: Cluster, host: Host, action: Action): void {
  const { vm, network, random } = cluster;
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
      host.bodies.delete(keyOf(action));
      return;
    case "dropRecord":
      vm.drop(host, action);
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
      if (host.role === "escrow") {
        host.log = [];
        host.finished = true;
      }
      return;
    case "setPageRoute":
      cluster.path += `${action.route} `;
      return;
    case "report":
      noteReport(cluster, host, action.report);
      return;
    case "startPageServer":
    case "stopPageServer":
      return;
  }
}

function noteReport(cluster: Cluster, host: Host, report: Report): void {
  const { oracle, faults, model, watch } = cluster;
  switch (report.what) {
    case "violation":
      if (!isSabotaged(model)) throw new Violation(1, report.why);
      cluster.reported.push(report.why);
      return;
    case "protection-on":
      oracle.protectedBy(report.generation, report.n);
      return;
    case "generation-opened": {
      const { descriptor } = report;
      cluster.path += `${descriptor.owner}:${descriptor.mode} `;
      if (descriptor.mode === "claim" && faults.ranWhenCut) {
        throw new Violation(4, "one cut link cost a working VM its place");
      }
      if (descriptor.mode === "claim" && watch.calm) {
        throw new Violation(4, "nothing is broken any more, and yet a working VM loses its place");
      }
      oracle.opened(descriptor, host.role, host.state);
      return;
    }
    default:
      return;
  }
}
