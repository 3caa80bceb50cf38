import { progressOf, queryMigrate } from "../qemu/migration-api.ts";
import type { DrillMachine } from "./machine.ts";

/** Begins a migration; stock QEMU to stock QEMU over a local socket. */
export async function migrate(
  from: DrillMachine,
  to: DrillMachine,
  bandwidth: number,
  postcopy: boolean,
): Promise<void> {
  const capabilities = [
    { capability: "events", state: true },
    { capability: "postcopy-ram", state: true },
  ] as const;
  await Promise.all([from, to].map(({ qmp }) => qmp.execute("migrate-set-capabilities", { capabilities })));
  await from.qmp.execute("migrate-set-parameters", { "max-postcopy-bandwidth": bandwidth });
  const uri = `unix:${to.options.folder}/${to.options.name}.in`;
  await to.qmp.execute("migrate-incoming", { uri });
  await from.qmp.execute("migrate", { uri });
  if (postcopy) await from.qmp.execute("migrate-start-postcopy");
}

/** How many pages the target has asked for so far, as the source counts them. */
export async function requestedOf(source: DrillMachine): Promise<number> {
  return progressOf(await queryMigrate(source.qmp))?.pages_requested ?? 0;
}
