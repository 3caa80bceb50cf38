import * as z from "zod";
import { HOST_ROLES, type TimelineEvent } from "../base/timeline.ts";
import type { Check } from "./check.ts";

/** What became of a VM whose link to its disks was broken and was not healed, until somebody mended it. */
export const storageAwaySchema = z.object({
  host: z.enum(HOST_ROLES),
  /** It stopped itself (QEMU's run state `io-error`); else it waited still when the link was mended. */
  stopped: z.boolean(),
  /** How long it was seen, from the moment when it was known who has the VM. */
  waited_ms: z.number().nonnegative(),
  /** It ran and got further once the link was mended, and it had been told to go on where it had stopped itself. */
  went_on: z.boolean(),
  /** Why it is said that it did not. */
  why: z.string().optional(),
});
export type StorageAway = Readonly<z.infer<typeof storageAwaySchema>>;

/**
 * A VM without its disks waits, or stops itself with an error that QEMU tells, and loses nothing: with its storage back it
 * goes on where it stood. That it does not run meanwhile is nobody's failing; what is on its disks then the other checks say.
 */
export const storageAway: Check = {
  name: "storage-away",
  false_means: "lost",
  applies: ({ evidence }) => evidence.storage_away !== undefined,
  judge({ evidence: { storage_away }, events }) {
    if (storage_away === undefined) return { verdict: "unknown", summary: "nobody looked at it" };
    const { host, stopped, waited_ms, went_on, why } = storage_away;
    const told = stopped ? toldErrors(host, events) : [];
    const [first] = told;
    const how = !stopped
      ? `waited for its storage (${waited_ms} ms were seen of it)`
      : `stopped itself with an I/O error${first === undefined ? "" : ` that QEMU told (${first})`}`;
    const evidence = { host, stopped, waited_ms, went_on, told: told.slice(0, 5) };
    if (!went_on) {
      const summary = `the guest on ${host} ${how}, and did not go on with its storage back${why === undefined ? "" : `: ${why}`}`;
      return { verdict: false, summary, evidence };
    }
    if (stopped && first === undefined)
      return { verdict: "unknown", summary: `the guest on ${host} ${how}, and nobody was told of it`, evidence };
    return { verdict: true, summary: `the guest on ${host} ${how}, and went on with its storage back`, evidence };
  },
};

/** What QEMU has told of requests that failed, and for which it stops the guest: "read of disk0: Input/output error". */
function toldErrors(host: string, events: readonly TimelineEvent[]): readonly string[] {
  return events.flatMap((event) => {
    if (event.kind !== "qmp.event" || event.lane !== host || event.event !== "BLOCK_IO_ERROR") return [];
    const parsed = errorSchema.safeParse(event.data);
    if (!parsed.success || parsed.data.action !== "stop") return [];
    const { operation, device, "node-name": node, reason } = parsed.data;
    return [`${operation} of ${node || device || "a disk"}: ${reason ?? "no reason was given"}`];
  });
}

/** QEMU: qapi/block-core.json, BLOCK_IO_ERROR. */
const errorSchema = z.object({
  operation: z.string(),
  action: z.string(),
  device: z.string().optional(),
  "node-name": z.string().optional(),
  reason: z.string().optional(),
});
