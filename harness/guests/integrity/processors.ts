import type { StatusPage } from "./status-page.ts";

/** So many virtual processors work, each on a region of its own (fixtures/guests/integrity/guest.h, CPU_MAX). */
export const PROCESSORS_MAX = 8;

/** How its boot's line ends where the machine has several processors: how many work, and how many there are. */
const PROCESSORS = / cpus=(\d+) of=(\d+)\r?$/;

/** What is to be said of a guest that does not work on every processor of its machine. @param boot its boot's line */
export function idleProcessors(boot: string): string | undefined {
  const [, working, all] = PROCESSORS.exec(boot) ?? [];
  if (working === undefined || all === undefined || working === all) return undefined;
  const why = Number(working) === PROCESSORS_MAX ? "no guest has more workers" : "the next one could not be started";
  return `the integrity guest works on the first ${working} of its ${all} vCPUs: ${why}`;
}

/** Processors that have done no step from one look to a later one; all of them if the guest was reset in between. */
export function standingStill(before: StatusPage, after: StatusPage): readonly number[] {
  const same = before.boot_id === after.boot_id;
  return before.cpus.flatMap(({ region: { cpu }, step_done }) =>
    same && (after.cpus[cpu]?.step_done ?? 0) > step_done ? [] : [cpu],
  );
}
