import { waitFor } from "../base/wait.ts";
import { verifyRamFile } from "../guests/integrity/verify-ram.ts";
import { statusOf, steps, working } from "./guest.ts";
import type { DrillMachine } from "./machine.ts";
import { migrate } from "./migrate.ts";
import type { DrillReport } from "./report.ts";

/** A restored VM is a full VM: migrates it by post-copy to a fresh QEMU, and resets it there. */
export async function afterlifeOf(
  from: DrillMachine,
  to: DrillMachine,
  guest_checks_pages: number,
): Promise<NonNullable<DrillReport["afterlife"]>> {
  const before = await working(from, 0);
  await to.qmp.execute("cont");
  await migrate(from, to, 0, true);
  await to.untilMigration("completed");
  await from.untilMigration("completed");
  await from.kill();
  await working(to, steps(before));
  await to.qmp.execute("stop");
  const moved = await verifyRamFile(to.options.ram_path);
  await to.qmp.execute("cont");
  const ledger = await to.ledger();
  const { boot_id } = await ledger.hello();
  await to.qmp.execute("system_reset");
  const rebooted = await waitFor({ what: "the guest to boot again", timeout_ms: 20_000, interval_ms: 10 }, () => {
    const status = statusOf(to.options.ram_path);
    const again = status !== undefined && status.boot_id !== boot_id && status.phase === "working";
    return again && steps(status) > 100 ? status : undefined;
  });
  const judged = await ledger.verify({ pages: guest_checks_pages, timeout_ms: 30_000 });
  await to.qmp.execute("stop");
  const reset = await verifyRamFile(to.options.ram_path);
  return {
    migrated_again: true,
    ram_ok: moved.ok,
    boot_id_changed: rebooted.boot_id !== boot_id,
    ram_ok_after_reset: reset.ok,
    guest_bad_pages: judged.bad_count,
  };
}
