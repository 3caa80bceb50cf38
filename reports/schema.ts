import { z } from "zod";
import { AGENT_EVENT_FIELDS } from "../harness/base/agent-event-fields.ts";
import { CONFIGURATION_FIELDS, MANAGERS } from "../harness/base/configuration.ts";
import { ANSWERS_EXPECTED, RUN_RECORD_VERSION, type RunRecord } from "../harness/base/run-record.ts";
import { HOST_ROLES, STORAGE, type TimelineEvent, VERDICTS } from "../harness/base/timeline.ts";

/**
 * The schema of `run.json`, `timeline.ndjson` and `suite.json`, version 1. Its rules, and what each field means, stand
 * in SCHEMA.md; `json/*.schema.json` is the same as JSON Schema, made from here. Readers ignore fields they do not
 * know and keep event kinds they do not know, so adding either needs no new version; anything else does.
 */
export const SUITE_VERSION = 1;

const hostRole = z.enum(HOST_ROLES);
const fleetHost = z.enum([...HOST_ROLES, STORAGE]);
const link = z.union([z.templateLiteral([hostRole, "-", fleetHost]), z.literal("libvirt")]);
const lane = z.union([
  z.enum(["run", ...HOST_ROLES, STORAGE, "migration", "fault", "client", "check"]),
  z.templateLiteral(["link:", hostRole, "-", fleetHost]),
  z.literal("link:libvirt"),
]);
const verdict = z.enum(VERDICTS);
const checkVerdict = z.union([z.boolean(), z.literal("unknown")]);
const count = z.number().nonnegative();
const optionalMs = z.exactOptional(count);
const recovery = z.enum(["stock", "txsync"]);

/** Every line has these two: milliseconds since the run began, with fractions, and where on the report it belongs. */
const placed = { at_ms: z.number(), lane };

function event<Kind extends string, Fields extends z.ZodRawShape>(kind: Kind, fields: Fields) {
  return z.looseObject({ kind: z.literal(kind), ...placed, ...fields });
}

function said<Kind extends keyof typeof AGENT_EVENT_FIELDS>(kind: Kind) {
  return event(kind, AGENT_EVENT_FIELDS[kind]);
}

export const timelineEventSchema = z.discriminatedUnion("kind", [
  event("run.started", {
    scenario: z.string(),
    recovery: z.string(),
    seed: z.number(),
    asked_sha256: z.exactOptional(z.string()),
  }),
  event("run.phase", { phase: z.enum(["fleet", "boot", "work", "migrate", "settle", "check", "teardown"]) }),
  event("run.settled", { how: z.string(), owner: z.enum([...HOST_ROLES, "none"]) }),
  event("run.note", { text: z.string() }),
  event("run.waiting", { what: z.string(), moved: z.string(), quiet_ms: count }),
  event("run.finished", {
    verdict,
    as_expected: z.boolean(),
    evidence_sha256: z.exactOptional(z.string()),
    record_sha256: z.exactOptional(z.string()),
  }),
  event("host.started", { container: z.string() }),
  event("host.gone", { how: z.string() }),
  event("qemu.started", { pid: z.number(), version: z.string(), argv: z.array(z.string()) }),
  said("qemu.exited"),
  event("qemu.status", { pid: z.number(), running: z.boolean() }),
  event("qmp.event", {
    event: z.string(),
    data: z.json(),
    pid: z.exactOptional(z.number()),
    qemu_ms: z.exactOptional(z.number()),
  }),
  event("qmp.answer", {
    id: z.string(),
    command: z.string(),
    answered: z.boolean(),
    answer_ms: count,
    error: z.exactOptional(z.string()),
  }),
  event("manager.started", { what: z.string(), pid: z.number() }),
  event("manager.exited", { what: z.string(), code: z.number().nullable(), last_lines: z.array(z.string()) }),
  event("manager.event", { text: z.string() }),
  event("manager.state", { state: z.string() }),
  event("manager.asked", { command: z.string(), code: z.number().nullable(), took_ms: count, said: z.string() }),
  event("migration.status", { side: z.enum(["source", "target"]), status: z.string() }),
  event("migration.step", {
    step: z.enum([
      "setup",
      "precopy",
      "switchover",
      "target-running",
      "postcopy-paused",
      "recovering",
      "completing",
      "completed",
      "failed",
    ]),
  }),
  said("migration.progress"),
  event("fault.injected", { fault: z.string(), id: z.string(), what: z.string() }),
  event("fault.healed", { fault: z.string(), id: z.string() }),
  event("fault.failed", { fault: z.string(), id: z.string(), error: z.string() }),
  event("link.state", {
    link,
    direction: z.enum(["both", "forward", "backward"]),
    state: z.enum(["up", "reset", "silent", "shaped"]),
    detail: z.string(),
  }),
  event("client.op", {
    op: count,
    name: z.enum(["append", "read"]),
    phase: z.enum(["invoked", "acknowledged", "failed", "unknown"]),
    host: z.enum([...HOST_ROLES, "none"]),
    value: z.exactOptional(z.number()),
    index: z.exactOptional(z.number()),
    error: z.exactOptional(z.string()),
  }),
  event("guest.progress", {
    host: hostRole,
    cpu: count,
    step: count,
    outside: z.exactOptional(z.boolean()),
    looked_ms: optionalMs,
    unseen_ms: optionalMs,
    ran_ms: optionalMs,
    wall_ms: optionalMs,
  }),
  event("guest.log", { host: hostRole, line: z.string() }),
  said("tx.taken"),
  said("tx.sending"),
  said("tx.progress"),
  said("tx.stored"),
  said("tx.committed"),
  said("gate.released"),
  said("gate.full"),
  said("gate.room"),
  said("lease.lost"),
  said("lease.regained"),
  said("vote.asked"),
  said("vote.promised"),
  said("vote.refused"),
  said("vote.message"),
  said("generation.opened"),
  said("generation.closed"),
  said("restore.started"),
  said("restore.made"),
  said("restore.verified"),
  said("restore.running"),
  said("restore.finished"),
  said("pages.route"),
  said("takeover"),
  said("takeover.served"),
  said("handoff"),
  said("protection"),
  said("base.covered"),
  said("violation"),
  said("agent.vitals"),
  event("host.usage", {
    agent_cpu_ms: z.exactOptional(count),
    qemu_cpu_ms: count,
    sent_bytes: count,
    received_bytes: count,
  }),
  event("check.result", { check: z.string(), verdict: checkVerdict, summary: z.string() }),
  event("log", { stream: z.enum(["qemu", "agent", "libvirt"]), line: z.string() }),
]);

export const runRecordSchema = z.looseObject({
  version: z.literal(RUN_RECORD_VERSION),
  id: z.string(),
  started_at: z.string(),
  scenario: z.string(),
  title: z.string(),
  group: z.string(),
  recovery,
  manager: z.exactOptional(z.enum(MANAGERS)),
  accel: z.enum(["tcg", "kvm"]),
  accel_why: z.string(),
  guest: z.string(),
  qemu: z.string(),
  qemu_version: z.string(),
  seed: z.number(),
  memory_bytes: count,
  configuration: z.exactOptional(z.looseObject(CONFIGURATION_FIELDS)),
  patience_ms: z.exactOptional(count),
  tries: z.exactOptional(count),
  write_rate_pages_per_s: z.exactOptional(count),
  working_set_bytes: z.exactOptional(count),
  faults: z.array(
    z.object({
      fault: z.string(),
      on: z.string(),
      at: z.string(),
      asks: z.exactOptional(z.object({ what: z.string(), answer: z.enum(ANSWERS_EXPECTED) })),
      before: z.exactOptional(z.union([z.literal("end"), count])),
      stops: z.exactOptional(hostRole),
    }),
  ),
  limits: z.exactOptional(z.array(z.object({ of: z.string(), most: count }))),
  expected: verdict,
  expected_why: z.exactOptional(z.string()),
  allowed: z.exactOptional(z.array(verdict)),
  cell: z.exactOptional(z.object({ fault: z.string(), step: z.string(), order: z.number() })),
  job: z.exactOptional(z.string()),
  verdict,
  as_expected: z.boolean(),
  why: z.string(),
  checks: z.array(
    z.object({ check: z.string(), verdict: checkVerdict, summary: z.string(), evidence: z.exactOptional(z.json()) }),
  ),
  evidence_sha256: z.exactOptional(z.string()),
  timings: z.looseObject({
    total_ms: count,
    fleet_ms: optionalMs,
    boot_ms: optionalMs,
    migration_ms: optionalMs,
    check_ms: optionalMs,
    detect_ms: optionalMs,
    recover_ms: optionalMs,
    downtime_ms: optionalMs,
    stopped_max_ms: optionalMs,
    unseen_max_ms: optionalMs,
    heard_late_max_ms: optionalMs,
    source_needed_ms: optionalMs,
    lost_steps: optionalMs,
    transactions: optionalMs,
    pause_p50_ms: optionalMs,
    pause_p90_ms: optionalMs,
    pause_p99_ms: optionalMs,
    pause_max_ms: optionalMs,
    stop_p50_ms: optionalMs,
    device_p50_ms: optionalMs,
    find_copy_p50_ms: optionalMs,
    cont_p50_ms: optionalMs,
    control_late_p99_ms: optionalMs,
    control_late_max_ms: optionalMs,
    agent_rss_max_mib: optionalMs,
  }),
  command: z.string(),
  versions: z.record(z.string(), z.string()),
  error: z.exactOptional(z.string()),
});

export const suiteRecordSchema = z.looseObject({
  version: z.literal(SUITE_VERSION),
  started_at: z.string(),
  /** The command that ran the suite. */
  command: z.string(),
  /** Run folders, relative to the suite's folder, in the order in which the runs began. */
  runs: z.array(z.string()),
  /** What ought to be in it and is not: a machine's part of a campaign that never came; one sentence each. */
  missing: z.exactOptional(z.array(z.string())),
});

export interface SuiteRecord {
  readonly version: typeof SUITE_VERSION;
  readonly started_at: string;
  readonly command: string;
  readonly runs: readonly string[];
  readonly missing?: readonly string[];
}

/** The schema and the words of the harness must not drift apart: these lines do not compile when they do. */
type Same<Left, Right> = [Left] extends [Right] ? ([Right] extends [Left] ? true : never) : never;
const kindsAgree: Same<z.infer<typeof timelineEventSchema>["kind"], TimelineEvent["kind"]> = true;
const eventsAgree = (read: z.infer<typeof timelineEventSchema>): TimelineEvent => read;
const recordsAgree = (read: z.infer<typeof runRecordSchema>): RunRecord => read;
export const schemaAgreesWithBaseTypes: readonly unknown[] = [kindsAgree, eventsAgree, recordsAgree];
