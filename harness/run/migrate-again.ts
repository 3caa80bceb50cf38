import type { Configuration } from "../base/configuration.ts";
import { whileMoving } from "../base/patience.ts";
import type { HostRole } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { MigrateAgainFindings } from "../checks/migrate-again.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { queryMigrate } from "../qemu/migration-api.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import type { Looking } from "./looking.ts";
import { prepareStream } from "./stock/stream.ts";

/**
 * Pre-copy comes to an end when what the guest writes in a pass is sent within the time that it may stand still: after so
 * many passes it may stand still for longer. What is asked is whether the VM is whole, not how long it stands still.
 */
const PASSES_IN_VAIN = 4;
const STILL_MS = { at_first: 1_000, later: 60_000 };

/**
 * Carries the VM that arrived over to another host, by plain pre-copy, and sees it go on there. What is asked is whether
 * the VM is whole, so it goes on a way of its own: the fault of the scenario may still lie on the link.
 * The host is the other one of the run or, where that is gone, the escrow's. What the run was configured to holds here too:
 * capabilities that were asked for stay as they are, with post-copy allowed where it was, and never begun.
 */
export async function migrateAgain(
  fleet: StartedFleet,
  guest: GuestUnderTest,
  owner: StartedVm,
  vms: Map<HostRole, StartedVm>,
  startIncoming: (role: HostRole) => Promise<StartedVm>,
  looking: Looking,
  how: { readonly configuration: Configuration; readonly postcopy: boolean },
): Promise<MigrateAgainFindings> {
  const from = owner.host.role;
  const to = (["source", "target", "escrow"] as const).find((role) => role !== from && fleet.host(role).up);
  if (to === undefined) throw new Error("no other host is left to migrate to");
  for (const role of [from, to]) await fleet.host(role).attachToFabric();
  await vms.get(to)?.quit();
  const next = await startIncoming(to);
  const steps_before = (await guest.steps(owner)) ?? 0;
  const { configuration } = how;
  const asked = configuration.capabilities !== undefined;
  const way = await fleet.openWay(from, to);
  const uris = await prepareStream(configuration, { from: owner, to: next }, way, asked && how.postcopy);
  const mayStandStill = (still_ms: number): Promise<unknown> =>
    owner.control.executeRaw("migrate-set-parameters", { "max-bandwidth": 4 * 1024 ** 3, "downtime-limit": still_ms });
  await mayStandStill(STILL_MS.at_first);
  await next.control.execute("migrate-incoming", { uri: uris.listen });
  await owner.control.execute("migrate", { uri: uris.connect });
  let passes = 0;
  let transferred_bytes = 0;
  await whileMoving(
    {
      what: `the second migration, from ${from} to ${to}`,
      ...looking,
      moves: () => `${transferred_bytes} bytes in ${passes} passes`,
      lastLines: () => next.process.lastLines(),
    },
    async () => {
      const { status, ram, "error-desc": why } = await queryMigrate(owner.watch);
      if (status === "failed") {
        const said = [...(why === undefined ? [] : [why]), ...next.process.lastLines()];
        throw new Error(`the second migration, from ${from} to ${to}, failed: ${said.join(" | ")}`);
      }
      const before = passes;
      passes = ram?.["dirty-sync-count"] ?? passes;
      transferred_bytes = ram?.transferred ?? transferred_bytes;
      if (before < PASSES_IN_VAIN && passes >= PASSES_IN_VAIN) await mayStandStill(STILL_MS.later);
      if (status === "pre-switchover") await owner.control.executeRaw("migrate-continue", { state: "pre-switchover" });
      return status === "completed" ? true : undefined;
    },
  );
  const steps_after = await waitFor(
    { what: `the guest to go on at ${to} after the second migration`, timeout_ms: looking.patience_ms },
    async () => {
      const now = await guest.steps(next);
      if (now === undefined && next.process.gone)
        throw new Error(`QEMU on ${to} ended in the second migration: ${next.process.lastLines().join(" | ")}`);
      return now !== undefined && now > steps_before ? now : undefined;
    },
  );
  return { from, to, steps_before, steps_after };
}
