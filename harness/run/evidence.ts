import { movers } from "../checks/check.ts";
import type { Evidence } from "../checks/evidence.ts";
import { auditStill } from "./audit.ts";
import { configurationOf, planOf } from "./configure.ts";
import { evidenceWithoutVm, gather, watchProgress } from "./gather.ts";
import type { Workload } from "./guests/guest.ts";
import { migrateAgain } from "./migrate-again.ts";
import { startPlainVm } from "./plain-vm.ts";
import type { RecoveryUnderTest, RunContext } from "./recovery.ts";
import type { Settled } from "./settled.ts";

/**
 * Looks at everything that the checks judge, once it is settled who has the VM. The order matters: who moves is seen
 * while clients are at work; the guest is asked about itself before its memory is looked at, for which it stands still;
 * what the scenario does with the VM afterwards comes before the recovery lets go of it, and plain QEMU last.
 */
export async function gatherEvidence(
  context: RunContext,
  recovery: RecoveryUnderTest,
  settled: Settled,
  clients: Workload,
): Promise<Evidence> {
  const { guest, vms, request, looking } = context;
  const { scenario } = request;
  const held_still = scenario.migration.hold_target === true;
  const watching = watchProgress(
    guest,
    (["source", "target"] as const).map((host) => ({ host, vm: vms.get(host) })),
    held_still ? "none" : settled.owner,
  );
  // While it is watched whether a second instance moves, the owner can already be asked about itself.
  const named = settled.owner === "none" ? undefined : vms.get(settled.owner);
  const looked_at = named?.alive === true && !held_still && settled.arriving === undefined;
  const asked = looked_at && named !== undefined ? gather(() => guest.selfCheck(named)) : undefined;
  const seen = evidenceWithoutVm(guest, settled, await watching, held_still);
  // Of two instances that move one may have been succeeded: who lets output out is seen while clients are at work.
  const succeeded = movers(seen).length > 1 ? await recovery.succeeded(settled.owner) : {};
  await clients.stop();
  await recovery.count(settled.owner);
  const without: Evidence = { ...seen, ...succeeded, ...recovery.told() };
  // Whoever runs is what a client would meet, whatever the manager thinks of it: that instance is looked at.
  const found = settled.owner === "none" ? movers(without)[0] : settled.owner;
  const owner = found === undefined ? undefined : vms.get(found);
  if (owner === undefined || !owner.alive || settled.arriving !== undefined) return without;
  if (held_still) {
    const memory = await gather(() => guest.memory(owner));
    const still = await gather(() => auditStill(vms.get("source"), owner, request.accel, looking));
    return { ...without, memory, still };
  }
  const self = await (asked ?? gather(() => guest.selfCheck(owner)));
  const memory = await gather(() => guest.memory(owner));
  const ledger = await gather(() => guest.ledger());
  const { afterwards: putThrough } = recovery;
  const afterwards =
    scenario.afterwards === undefined || putThrough === undefined
      ? {}
      : { afterwards: await gather(() => putThrough(owner)) };
  await recovery.release();
  const last = (scenario.afterwards === "migrate-protected" ? vms.get("target") : undefined) ?? owner;
  const again = await gather(() =>
    migrateAgain(
      context.fleet,
      guest,
      last,
      vms,
      (role) => startPlainVm(context, role, { incoming: true, paused: false }),
      looking,
      { configuration: configurationOf(request), postcopy: planOf(request).switchover !== "never" },
    ),
  );
  // What comes out while the VM is put through something afterwards belongs to it too.
  return { ...without, ...recovery.told(), memory, guest: self, ledger, again, ...afterwards };
}
