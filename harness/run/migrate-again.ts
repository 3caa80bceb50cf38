import type { HostRole } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { MigrateAgainFindings } from "../checks/evidence.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import { uriOf } from "./stock.ts";

const MIGRATE_MS = 20_000;
const PROGRESS_MS = 3_000;

/**
 * Carries the VM that arrived over to another host, by plain pre-copy, and sees it go on there. What is asked is whether
 * the VM is whole, so it goes on a way of its own: the fault of the scenario may still lie on the link.
 * The host is the other one of the run or, where that is gone, the escrow's.
 */
export async function migrateAgain(
  fleet: StartedFleet,
  guest: GuestUnderTest,
  owner: StartedVm,
  vms: Map<HostRole, StartedVm>,
  startIncoming: (role: HostRole) => Promise<StartedVm>,
): Promise<MigrateAgainFindings> {
  const from = owner.host.role;
  const to = (["source", "target", "escrow"] as const).find((role) => role !== from && fleet.host(role).up);
  if (to === undefined) throw new Error("no other host is left to migrate to");
  for (const role of [from, to]) await fleet.host(role).attachToFabric();
  await vms.get(to)?.quit();
  const next = await startIncoming(to);
  const steps_before = (await guest.steps(owner)) ?? 0;
  const capabilities = { capabilities: [{ capability: "postcopy-ram", state: false }] };
  await owner.control.executeRaw("migrate-set-capabilities", capabilities);
  await owner.control.executeRaw("migrate-set-parameters", { "max-bandwidth": 1024 ** 3, "downtime-limit": 1_000 });
  const way = await fleet.openWay(from, to);
  await next.control.execute("migrate-incoming", { uri: uriOf(way.listen) });
  await owner.control.execute("migrate", { uri: uriOf(way.connect) });
  await waitFor(
    {
      what: `the second migration, from ${from} to ${to}`,
      timeout_ms: MIGRATE_MS,
      lastLines: () => next.process.lastLines(),
    },
    async () => {
      const { status } = await owner.watch.execute("query-migrate");
      if (status === "failed") throw new Error(`the second migration, from ${from} to ${to}, failed`);
      return status === "completed" ? true : undefined;
    },
  );
  const steps_after = await waitFor(
    { what: `the guest to go on at ${to} after the second migration`, timeout_ms: PROGRESS_MS },
    async () => {
      const now = await guest.steps(next);
      return now !== undefined && now > steps_before ? now : undefined;
    },
  );
  return { from, to, steps_before, steps_after };
}
