import { STORAGE_PATIENCE_MS_DEFAULT } from "../base/configuration.ts";
import { messageOf } from "../base/errors.ts";
import { STORAGE } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { StorageAway } from "../checks/storage-away.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { configurationOf } from "./configure.ts";
import type { RunContext } from "./recovery.ts";
import type { Settled } from "./settled.ts";

/** So often agents' daemon waits for as long as is waited: a silent storage is asked a second time (txsync/disk/client.ts). */
const AGENTS_PATIENCES = 2;
/** Each try has its time. */
const MORE_MS = 10_000;
/** For a QEMU to reach its storage again: it tries after 1, 2, 4, 8 and 16 s (QEMU: block/nbd.c, nbd_co_reconnect_loop). */
const GO_ON_MS = 40_000;
const LOOK_EVERY_MS = 100;
const ANSWER_MS = 5_000;

/**
 * Where the VM's link to its disks is broken and nobody has healed it: sees what becomes of the VM, for as long as it may
 * take QEMU to say that a request has failed. Then it does as an operator would, mends the link and lets a guest that had
 * stopped itself go on: whether anything was lost is told by a VM that has its disks.
 * @returns undefined where no such link is broken
 */
export async function whileStorageIsAway(
  { fleet, vms, request, guest, timeline, disks, images }: RunContext,
  { owner }: Settled,
): Promise<StorageAway | undefined> {
  if (owner === "none" || (disks === undefined && images === undefined)) return undefined;
  const [link, vm] = [fleet.link(`${owner}-${STORAGE}`), vms.get(owner)];
  if (!link.broken || vm?.alive !== true) return undefined;
  const { storage_patience_ms = STORAGE_PATIENCE_MS_DEFAULT } = configurationOf(request);
  const note = (text: string): void => timeline.emit("run", { kind: "run.note", text });
  note(`link ${link.name} is broken for good: it is seen what becomes of the VM`);
  const began_ms = timeline.now_ms;
  const timeout_ms = (request.recovery === "txsync" ? AGENTS_PATIENCES : 1) * storage_patience_ms + MORE_MS;
  const stopped = await waitFor({ what: "QEMU to stop the guest", timeout_ms, interval_ms: LOOK_EVERY_MS }, async () =>
    (await statusOf(vm)) === "io-error" ? true : undefined,
  ).catch(() => false);
  const waited_ms = Math.round(timeline.now_ms - began_ms);
  note(`${stopped ? "it has stopped itself" : "it waits still"} after ${waited_ms} ms: the link is mended`);
  await link.mend();
  const before = (await guest.steps(vm).catch(() => undefined)) ?? 0;
  let why: string | undefined;
  const went_on = await waitFor(
    { what: "the VM to go on with its storage back", timeout_ms: GO_ON_MS, interval_ms: LOOK_EVERY_MS },
    async () => {
      // Until its storage is reached again it stops itself once more.
      const status = await statusOf(vm);
      if (status === "io-error") await vm.control.execute("cont", {}, { timeout_ms: ANSWER_MS }).catch(() => undefined);
      const now = await guest.steps(vm).catch(() => undefined);
      return status === "running" && now !== undefined && now > before ? true : undefined;
    },
  ).catch((error: unknown) => {
    why = messageOf(error).split("\n")[0];
    return false;
  });
  return { host: owner, stopped, waited_ms, went_on, ...(why === undefined ? {} : { why }) };
}

/** QEMU's run state; undefined where it does not answer. */
async function statusOf(vm: StartedVm): Promise<string | undefined> {
  return await vm.control.execute("query-status", {}, { timeout_ms: ANSWER_MS }).then(
    ({ status }) => status,
    () => undefined,
  );
}
