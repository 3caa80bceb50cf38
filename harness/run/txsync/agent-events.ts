import * as z from "zod";
import type { HostRole, TimelineEventBody } from "../../base/timeline.ts";
import { HOST_ROLES } from "../../base/timeline.ts";

/**
 * What agents may say of themselves, and who may say what. An agent belongs to what is judged: what it says goes onto the
 * timeline only in its own words, never in those of the harness (faults, checks, how a run came out) or of another host.
 */

const count = z.number().nonnegative();
const host = z.enum(HOST_ROLES);
const transaction = { generation: count, n: count };
const event = <Kind extends string, Fields extends z.ZodRawShape>(kind: Kind, fields: Fields) =>
  z.object({ kind: z.literal(kind), ...fields });

/** Every agent: how it is, what it hears, how it votes, the QEMU of its host. */
const OF_ALL = [
  event("run.note", { text: z.string() }),
  event("log", { stream: z.literal("agent"), line: z.string() }),
  event("agent.vitals", { control_late_p99_ms: count, control_late_max_ms: count, rss_mib: count }),
  event("violation", { why: z.string() }),
  event("lease.lost", { peer: host, silent_ms: count }),
  event("lease.regained", { peer: host }),
  event("vote.asked", { generation: count }),
  event("vote.promised", { generation: count, to: host }),
  event("vote.refused", { generation: count, to: host, why: z.string() }),
  event("generation.opened", { generation: count, owner: host }),
  event("generation.closed", { generation: count }),
  event("protection", { state: z.enum(["on", "off"]), why: z.string() }),
] as const;

/** The agents of hosts that can have the VM. */
const OF_VM_HOSTS = [
  ...OF_ALL,
  event("qemu.started", { pid: z.int().positive(), version: z.string(), argv: z.array(z.string()) }),
  event("qemu.exited", { code: z.number().nullable(), last_lines: z.array(z.string()) }),
  event("tx.taken", {
    ...transaction,
    pages: count,
    bytes: count,
    stop_ms: count,
    device_ms: count,
    find_ms: count,
    copy_ms: count,
    pause_ms: count,
    still_ms: z.exactOptional(count),
    cont_ms: z.exactOptional(count),
  }),
  event("tx.committed", { ...transaction, latency_ms: count }),
  event("gate.released", { ...transaction, bytes: count, waited_ms: count }),
  event("restore.started", transaction),
  event("restore.verified", { ...transaction, pages: count, digest: z.string() }),
  event("restore.finished", { ...transaction, pages: count, restore_ms: count }),
  event("restore.running", { generation: count }),
  event("handoff", transaction),
  event("migration.progress", {
    transferred_bytes: count,
    remaining_bytes: count,
    total_bytes: count,
    pages_arrived: count,
    pages_total: count,
    pages_requested: count,
  }),
] as const;

const SCHEMAS = {
  source: z.discriminatedUnion("kind", [
    ...OF_VM_HOSTS,
    event("migration.step", { step: z.enum(["switchover", "failed"]) }),
  ]),
  target: z.discriminatedUnion("kind", [
    ...OF_VM_HOSTS,
    event("migration.step", { step: z.enum(["target-running", "recovering", "completing"]) }),
    event("takeover", { server: host, pages_left: count }),
  ]),
  escrow: z.discriminatedUnion("kind", [...OF_ALL, event("tx.stored", { ...transaction, bytes: count })]),
};

/** The event as it may go onto the timeline, or why it may not. Fields that nobody knows are left out. */
export function agentEvent(
  role: HostRole,
  said: unknown,
): { readonly event: TimelineEventBody } | { readonly refused: string } {
  const parsed = SCHEMAS[role].safeParse(said);
  if (parsed.success) return { event: parsed.data };
  const kind = typeof said === "object" && said !== null && "kind" in said ? JSON.stringify(said.kind) : "nothing";
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "" : `${issue.path.join(".")}: `;
  return { refused: `the agent on ${role} may not say ${kind} like this: ${where}${issue?.message ?? "no event"}` };
}
