import * as z from "zod";
import { AGENT_EVENT_FIELDS } from "../../base/agent-event-fields.ts";
import type { HostRole, TimelineEventBody } from "../../base/timeline.ts";

/**
 * What agents may say of themselves, and who may say what. An agent belongs to what is judged: what it says goes onto the
 * timeline only in its own words, never in those of the harness (faults, checks, how a run came out) or of another host.
 */

const event = <Kind extends string, Fields extends z.ZodRawShape>(kind: Kind, fields: Fields) =>
  z.object({ kind: z.literal(kind), ...fields });
const said = <Kind extends keyof typeof AGENT_EVENT_FIELDS>(kind: Kind) => event(kind, AGENT_EVENT_FIELDS[kind]);

/** Every agent: how it is, what it hears, how it votes, the QEMU of its host. */
const OF_ALL = [
  event("run.note", { text: z.string() }),
  event("log", { stream: z.literal("agent"), line: z.string() }),
  said("agent.vitals"),
  said("violation"),
  said("lease.lost"),
  said("lease.regained"),
  said("vote.asked"),
  said("vote.promised"),
  said("vote.refused"),
  said("vote.message"),
  said("generation.opened"),
  said("generation.closed"),
  said("protection"),
] as const;

/** The agents of hosts that can have the VM. */
const OF_VM_HOSTS = [
  ...OF_ALL,
  event("qemu.started", { pid: z.int().positive(), version: z.string(), argv: z.array(z.string()) }),
  said("qemu.exited"),
  said("tx.taken"),
  said("tx.sending"),
  said("tx.progress"),
  said("tx.committed"),
  said("gate.released"),
  said("gate.full"),
  said("gate.room"),
  said("restore.started"),
  said("restore.made"),
  said("restore.verified"),
  said("restore.finished"),
  said("restore.running"),
  said("handoff"),
  said("base.covered"),
  said("migration.progress"),
] as const;

const SCHEMAS = {
  source: z.discriminatedUnion("kind", [
    ...OF_VM_HOSTS,
    event("migration.step", { step: z.enum(["switchover", "failed"]) }),
  ]),
  target: z.discriminatedUnion("kind", [
    ...OF_VM_HOSTS,
    event("migration.step", { step: z.enum(["target-running", "recovering", "completing"]) }),
    said("pages.route"),
    said("takeover"),
    said("takeover.served"),
  ]),
  escrow: z.discriminatedUnion("kind", [...OF_ALL, said("tx.stored")]),
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
