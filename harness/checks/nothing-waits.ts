import * as z from "zod";
import { messageOf } from "../base/errors.ts";
import { HOST_ROLES, type HostRole, type TimelineEvent } from "../base/timeline.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { queryMigrate } from "../qemu/migration-api.ts";
import { type Check, judged, movers } from "./check.ts";
import { finding } from "./finding.ts";

/** For a QEMU that lives to answer a question that it need not think about. */
const ANSWER_MS = 5_000;

const waitingSchema = z
  .array(
    z.object({
      host: z.enum(HOST_ROLES),
      /** How long its monitor took to answer; absent: it did not. */
      answered_ms: z.exactOptional(z.number().nonnegative()),
      /** QEMU's run state, and that of its migration ("none": it never had one). */
      status: z.exactOptional(z.string()),
      migration: z.exactOptional(z.string()),
      /** What was asked and not answered, in words. */
      silent: z.exactOptional(z.string()),
    }),
  )
  .readonly();
type Asked = z.infer<typeof waitingSchema>[number];

/** Looked at before the VM is carried over again, for which every other QEMU is ended. */
const asked = finding({
  name: "monitors",
  stage: "quiet",
  of_vm: false,
  schema: waitingSchema,
  look: async ({ vms }) =>
    await Promise.all([...vms.values()].filter((vm) => vm.alive && vm.host.up).map((vm) => askOf(vm))),
});

async function askOf(vm: StartedVm): Promise<Asked> {
  const host = vm.host.role;
  const started_ms = performance.now();
  try {
    const { status } = await vm.control.execute("query-status", {}, { timeout_ms: ANSWER_MS });
    const answered_ms = Math.round(performance.now() - started_ms);
    const { status: migration } = await queryMigrate(vm.control, ANSWER_MS);
    return { host, answered_ms, status, migration: migration ?? "none" };
  } catch (error) {
    return { host, silent: messageOf(error).split("\n")[0] ?? "it did not answer" };
  }
}

/** States of a migration that end only by what the other side, or somebody who manages it, does. */
const OPEN: readonly string[] = [
  "setup",
  "active",
  "pre-switchover",
  "device",
  "postcopy-device",
  "postcopy-active",
  "postcopy-paused",
  "postcopy-recover-setup",
  "postcopy-recover",
  "cancelling",
  "wait-unplug",
];

/**
 * Nothing waits for ever: when a run is over every QEMU that lives answers, and none but the one that has the VM waits for
 * a migration that nobody drives any more. Where agents are, they have what stands by; but a VM that another host has taken
 * over is ended where it is found. What a fault holds is no such thing.
 */
export const nothingWaits: Check = {
  name: "nothing-waits",
  false_means: "unfinished",
  needs: [asked],
  // A VM that is lost waits for ever; that is said already.
  applies: ({ evidence }) => evidence.owner !== "none" || movers(evidence).length > 0,
  judge: ({ evidence, events }) =>
    judged(asked.of(evidence), (all) => {
      const waiting = all.flatMap(({ host, silent, status, migration }): string[] => {
        if (heldByFault(events, host)) return [];
        if (silent !== undefined) return [`the monitor of QEMU on ${host} does not answer: ${silent}`];
        // Behind its gate nobody hears it: it would use a processor, and its memory, for ever.
        if (evidence.gated && host !== evidence.owner && evidence.owner !== "none" && status === "running")
          return [`the VM on ${host} runs on for nobody: ${evidence.owner} has it, and ${host} can be reached`];
        if (evidence.gated || evidence.held_still || host === evidence.owner) return [];
        if (status !== "inmigrate" && !OPEN.includes(migration ?? "none")) return [];
        return [`QEMU on ${host} waits for ever: it is ${status}, its migration ${migration}, and nobody drives it`];
      });
      const evidenceOf = all.map((one) => ({ ...one }));
      const [first] = waiting;
      if (first !== undefined) return { verdict: false, summary: waiting.join("; "), evidence: evidenceOf };
      return { verdict: true, summary: `${all.length} monitors answer, and nothing waits for what cannot come` };
    }),
};

/** Whether faults that were not healed freeze something on a host, end its agent, or keep it away from everybody else for good. */
function heldByFault(events: readonly TimelineEvent[], host: HostRole): boolean {
  const healed = new Set(events.flatMap((event) => (event.kind === "fault.healed" ? [event.id] : [])));
  const left = events.flatMap((event) =>
    event.kind === "fault.injected" && !healed.has(event.id)
      ? [{ fault: event.fault, words: event.what.split(/[^a-z]+/) }]
      : [],
  );
  const on = left.filter(({ words }) => words.includes(host));
  if (on.some(({ fault }) => fault.startsWith("freeze") || fault === "detach-host")) return true;
  // Whoever could end it there is gone, perhaps for good.
  if (on.some(({ fault, words }) => fault === "kill-process" && words.includes("agent"))) return true;
  return HOST_ROLES.every(
    (other) => other === host || on.some(({ fault, words }) => fault.startsWith("cut-") && words.includes(other)),
  );
}
