import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { Durable, HostMemory } from "../core/index.ts";
import type { Remembered } from "./memory.ts";
import { runs } from "./runs.ts";
import { log, type Shell } from "./shell.ts";
import type { SourceSide } from "./source-side.ts";
import type { TargetSide } from "./target-side.ts";
import type { VmProcess } from "./vm-process.ts";

const ASK_AGAIN_MS = 500;

/**
 * What an earlier life of this agent left on the host, made into something that can be gone on with; before the core
 * has been told anything.
 */
export async function findAgain(
  shell: Shell,
  source: SourceSide,
  remembered: Remembered,
  durable: Durable | null,
): Promise<HostMemory> {
  const { config, slot, output } = shell;
  const { host, qemu } = remembered;
  const promised = durable?.descriptor.generation ?? 0;
  // Taken for a switchover that nobody was promised: its QEMU has the VM, and is protected as it was.
  const stays = host.vm === "running" && promised > 0 && durable?.descriptor.owner === "source";
  if (config.role === "source" && stays && source.kept !== undefined) source.dropPackage();
  const packaged = config.role === "source" && source.hasBase;
  let vm = host.vm;
  if (packaged && promised === 0 && source.kept?.qemu === qemu && (vm === "running" || vm === "none")) {
    // It was made of a QEMU that only stands still, and nobody was promised it: the VM is in there, and goes on there. Another
    // one by now is half made of the package, and of no use.
    const left = await slot.adopt(qemu, true);
    if (left !== undefined) {
      source.dropPackage();
      output.follow(left.folder);
      return { ...host, vm: "running", produced: output.produced, hasBase: true, hasPackage: false };
    }
  }
  if (packaged && (vm === "running" || vm === "none")) {
    // Its package is here, and it stands still for good: it can be talked to no more, and is not needed. If nothing was
    // promised here yet, nobody has the package: the core will say that the VM runs on here, from it.
    await slot.remove(qemu);
    if (promised === 0) vm = "running";
  } else if (vm === "running" || vm === "ready") {
    const adopted = await slot.adopt(qemu, config.role === "source");
    // Only one that is gone is gone: one that does not answer for a moment is waited for, and nobody ends it.
    if (adopted === undefined) vm = "gone";
    else output.follow(adopted.folder);
  } else {
    // Half loaded or half made: of no use to anybody.
    await slot.remove(qemu);
    if (vm === "incoming" || vm === "loading") vm = "gone";
    if (vm === "restoring") vm = "none";
  }
  const hasBase = packaged || (config.role === "source" && promised === 0 && vm === "running");
  if (config.role === "escrow") return { ...host, vm, produced: output.produced };
  return { ...host, vm, produced: output.produced, hasBase, hasPackage: packaged };
}

/** A running QEMU was found again, and the core knows. It may stand still because the agent died between `stop` and `cont`. */
export async function goOnWith(
  shell: Shell,
  target: Pick<TargetSide, "recover">,
  vm: VmProcess,
  again_ms = ASK_AGAIN_MS,
): Promise<void> {
  const { config, dispatch, state, slot } = shell;
  const isTarget = config.role === "target";
  const ours = (): boolean => !vm.gone && slot.vm === vm && state().vm === "running";
  let recovered = false;
  // One that does not answer is asked again for as long as it lives, and nobody ends it for that.
  while (ours()) {
    try {
      await vm.known();
      if (isTarget && !recovered && !["", "completed"].includes(vm.migration)) {
        recovered = true;
        await target.recover(vm);
      }
      await vm.attached();
      const { status } = await vm.qmp.execute("query-status");
      if (status === "paused" && ours()) await runs(vm);
      if (isTarget && vm.migration === "completed" && ours()) dispatch({ kind: "allPagesArrived" });
      return;
    } catch (error) {
      if (!ours()) return;
      log(shell, `the VM that was found again does not answer: ${messageOf(error)}`);
      await delay(again_ms);
    }
  }
}
