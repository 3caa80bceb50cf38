import { type Action, frameNumber, hears, isWhole, type Report, type TransactionNumber } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import { isSabotaged } from "./model.ts";
import { Violation } from "./oracle.ts";
import { mayLetOut, mayPromise, mayWork } from "./sealed.ts";
import { keyOf, storeRecord, writePromise } from "./storage.ts";

/** Every so manieth transaction never settles: its storage is away. */
const NEVER_SETTLES = 16;
const SETTLES_MS = 80;

/** The shell of a simulated agent: does what its core wants done. */
export function act(cluster: Cluster, host: Host, action: Action): void {
  const { vm, network, random } = cluster;
  mayWork(host, action);
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
      mayPromise(host, action.durable);
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
      settle(cluster, host, action.n);
      return;
    case "dropRecord":
      vm.drop(host, action);
      return;
    case "storeRecord":
      storeRecord(cluster, host, action.header);
      return;
    case "releaseOutput":
      mayLetOut(host, action);
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
    case "startProtection":
      vm.beginBase(host);
      return;
    case "stopProtection":
      vm.endBase(host);
      return;
    case "adoptBase":
      vm.adoptBase(host, action.from);
      return;
    case "startPageServer":
      vm.left(host);
      return;
    case "stopPageServer":
    case "answerEscrow":
      return;
  }
}

/** Where output is to be held back the escrow's silence lets none of it out. */
function mayGoOn({ schedule, faults }: Cluster, { state }: Host): void {
  if (schedule.protect?.unprotected !== "hold" || faults.untrackable || state.untrackable !== null) return;
  throw new Violation(2, "the escrow is silent, and output that is to be held back may leave");
}

function noteReport(cluster: Cluster, host: Host, report: Report): void {
  const { oracle, faults, model, watch, vm } = cluster;
  switch (report.what) {
    case "violation":
      if (!isSabotaged(model)) throw new Violation(1, report.why);
      cluster.reported.push(report.why);
      return;
    case "protection-on": {
      oracle.protectedBy(report.generation, report.n);
      cluster.saysProtected = host.role;
      // While pages still come the base is nowhere whole, and every holder counts on the others.
      const whole = cluster.schedule.protect !== undefined && isWhole(host.state);
      // One that died a moment ago is still counted on: nobody knows more than what was heard within the lease.
      const counted_on =
        (host.role === "target" && hears(host.state, "source")) ||
        (!cluster.hosts.escrow.up && hears(host.state, "escrow")) ||
        host.state.peerEscrow?.incarnation !== cluster.hosts.escrow.state.incarnation;
      if (whole && !counted_on && !vm.somebodyHasBase(host)) {
        throw new Violation(2, "protection is said to be on, and nobody else has what the log is relative to");
      }
      return;
    }
    case "lease-regained":
      cluster.bulk?.connections.heardAgain(host.role, report.peer);
      return;
    case "protection-off":
      if (cluster.saysProtected === host.role) cluster.saysProtected = null;
      return;
    case "generation-opened": {
      const { descriptor } = report;
      cluster.path += `${descriptor.owner}:${descriptor.mode} `;
      if (descriptor.mode !== "protected") cluster.saysProtected = null;
      if (descriptor.mode === "claim" && faults.ranWhenCut) {
        throw new Violation(4, "one cut link cost a working VM its place");
      }
      if (descriptor.mode === "claim" && watch.calm) {
        throw new Violation(4, "nothing is broken any more, and yet a working VM loses its place");
      }
      oracle.opened(descriptor, host.role, host.state);
      if (descriptor.mode === "unprotected") mayGoOn(cluster, host);
      return;
    }
    default:
      return;
  }
}

/** What a VM that leaves has beside memory: a moment after its last commit it is where the target finds it, or never. */
function settle(cluster: Cluster, host: Host, n: TransactionNumber): void {
  const { leaving } = host.state;
  if (leaving?.stage !== "settling" || leaving.n !== n || n % NEVER_SETTLES === 0) return;
  cluster.later(host, (n * 7) % SETTLES_MS, { kind: "lastSettled", n });
}
