import * as z from "zod";
import { configurationSchema, MANAGERS, switchoverSchema } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import { ANSWERS_EXPECTED } from "../base/run-record.ts";
import { HOST_LINK_NAMES, HOST_ROLES, type LinkName, STORAGE, VERDICTS } from "../base/timeline.ts";
import { LIMITED_NAMES } from "../checks/limits.ts";
import type { FaultSpec } from "../faults/index.ts";
import { CONNECTIONS_TOLD_APART } from "../fleet/split.ts";
import { agentConfigSchema } from "../txsync/agent/config.ts";
import { GUEST_KINDS } from "./guests/index.ts";
import { CHATTER_MAX, type GuestWork, STORM_MAX, WRITE_RATE_MAX } from "./guests/work.ts";
import type { Scenario, Trigger } from "./scenario.ts";
import { STEP_NAMES, stepOf } from "./steps.ts";
import type { TxsyncSettings } from "./txsync/settings.ts";

/** What of a scenario can be wrong, for those that come from outside: from a file, from the command line, from a library's user. */

/** Links that every run has, and those of runs with disks, and with libvirt. */
export const LINK_NAMES = [
  ...HOST_LINK_NAMES,
  "source-storage",
  "target-storage",
  "escrow-storage",
  "libvirt",
] as const satisfies readonly LinkName[];

/** A day: what is put right by hand is wrong by less. */
const CLOCK_STEP_MS_MAX = 86_400_000;

const host = z.enum(HOST_ROLES);
const vm_host = z.enum(["source", "target"]);
const some = z.number().positive();
const count = z.int().positive();
const ms = z.int().nonnegative();
const index = z.int().nonnegative();

const onHost = { host };
const onProcess = { host, process: z.enum(["qemu", "agent", "disks"]) };
const onLink = {
  link: z.enum(LINK_NAMES),
  connection: z.exactOptional(z.int().min(1).max(CONNECTIONS_TOLD_APART)),
};
const direction = z.enum(["both", "forward", "backward"]);
const oneWay = { ...onLink, direction: z.exactOptional(direction) };

const fault = <Name extends FaultSpec["fault"], Fields extends z.ZodRawShape>(name: Name, fields: Fields) =>
  z.strictObject({ fault: z.literal(name), ...fields });

export const faultSchema = z.discriminatedUnion("fault", [
  fault("bandwidth", { ...oneWay, bytes_per_s: some }),
  fault("byte-limit", { ...oneWay, bytes: count }),
  fault("cpu-pressure", { ...onHost, processes: z.int().min(1).max(64) }),
  fault("clock-step", {
    ...onHost,
    clock: z.enum(["monotonic", "wall"]),
    by_ms: z.int().min(1).max(CLOCK_STEP_MS_MAX),
    back: z.exactOptional(z.literal(true)),
  }).refine(({ clock, back }) => clock === "wall" || back === undefined, "a monotonic clock never goes back"),
  fault("cut-reset", { ...onLink, direction: z.exactOptional(z.enum(["forward", "backward"])) }),
  fault("cut-silent", { ...onLink, direction }),
  fault("deny-writes", { ...onHost, what: z.enum(["promises", "memory"]) }),
  fault("detach-host", onHost),
  fault("fill", {
    host: z.enum([...HOST_ROLES, STORAGE]),
    what: z.enum(["shm", "disk"]),
    bytes: z.exactOptional(count),
  }).refine(({ what, bytes }) => what === "shm" || bytes !== undefined, "a disk is the machine's too: how many bytes?"),
  fault("freeze-host", onHost),
  fault("freeze-process", onProcess),
  fault("io-error", {
    ...onHost,
    what: z.enum(["promises", "memory"]),
    calls: z.exactOptional(z.enum(["writes", "reads", "all"])),
    error: z.exactOptional(z.enum(["eio", "full"])),
  }).refine(({ calls = "writes", error }) => error !== "full" || calls === "writes", "a disk that is full can be read"),
  fault("kill-host", onHost),
  fault("kill-process", { ...onProcess, stays_away: z.exactOptional(z.literal(true)) }),
  fault("kill-storage", { what: z.literal("server") }),
  fault("kill-manager", { host: vm_host, part: z.enum(["daemon", "client"]) }),
  fault("latency", { ...oneWay, latency_ms: ms, jitter_ms: ms }),
  fault("qmp", {
    host: vm_host,
    command: z.string().regex(/^[a-zA-Z_][a-zA-Z0-9_.-]*$/, "no name of a QMP command"),
    arguments: z.exactOptional(z.record(z.string(), z.json())),
    oob: z.exactOptional(z.literal(true)),
    // Less than a fault may take as a whole (nemesis.ts).
    within_ms: z.exactOptional(z.int().min(1).max(50_000)),
    answer: z.exactOptional(z.enum(ANSWERS_EXPECTED)),
  }),
  fault("replace-host", { host: z.literal("escrow") }),
  fault("slice", { ...oneWay, bytes_mean: count, bytes_variation: z.int().nonnegative(), delay_us: ms }),
]) satisfies z.ZodType<FaultSpec>;

const after_ms = z.exactOptional(z.int().positive());
const trigger = <On extends Trigger["on"], Fields extends z.ZodRawShape>(on: On, fields: Fields) =>
  z.strictObject({ on: z.literal(on), ...fields, after_ms });

export const triggerSchema = z
  .discriminatedUnion("on", [
    trigger("step", { step: z.enum(STEP_NAMES), by: z.exactOptional(host), since: z.exactOptional(index) }),
    trigger("pages", { percent: z.number().gt(0).max(100) }),
    trigger("requests", { count }),
    trigger("bytes", { count }),
    trigger("transactions", { count }),
    trigger("fault", { index }),
    trigger("healed", { index }),
  ])
  .refine(
    (at) => at.on !== "step" || at.by === undefined || stepOf(at.step).part !== "migration",
    "no agent tells of this step, so it is of no host",
  ) satisfies z.ZodType<Trigger>;

export const functionSchema = z.custom<(...args: never[]) => unknown>(
  (value) => typeof value === "function",
  "a function is needed",
);
const WORDS = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const NAME = "lower-case words and numbers with hyphens between";

const ownFaultSchema = z.looseObject({
  fault: z.string().regex(/^my(-[a-z0-9]+)+$/, "a fault of yours is called my- and lower-case words"),
  on: z.string().min(1, "where does it strike?"),
  inject: functionSchema,
  heal: z.exactOptional(functionSchema),
  prepare: z.exactOptional(functionSchema),
});

/** What is wrong with a part that is of one kind or another is said as of the kind that it is. */
function eitherOf(kindOf: (value: object) => z.ZodType): z.ZodType<object> {
  return z
    .custom<object>((value) => typeof value === "object" && value !== null, "an object is needed")
    .superRefine((value, context) => {
      const { error } = kindOf(value).safeParse(value);
      for (const { path, message } of error?.issues ?? [])
        context.addIssue({ code: "custom", path: [...path], message });
    });
}

const planSchema = z.strictObject({
  fault: eitherOf((fault) => ("inject" in fault ? ownFaultSchema : faultSchema)),
  at: triggerSchema,
  heal: z.exactOptional(triggerSchema),
});

const ownGuestSchema = z.looseObject({
  kind: z
    .string()
    .regex(WORDS, NAME)
    .refine((kind) => !GUEST_KINDS.some((ours) => ours === kind), "one of ours has this name: choose another"),
  start: functionSchema,
});

/** A guest by its name, or an object of somebody else's. */
export const guestSchema = z.unknown().superRefine((guest, context) => {
  const known = GUEST_KINDS.some((kind) => kind === guest);
  const own = typeof guest === "object" && guest !== null;
  const issues = own ? (ownGuestSchema.safeParse(guest).error?.issues ?? []) : [];
  for (const { path, message } of issues) context.addIssue({ code: "custom", path: [...path], message });
  if (!known && !own)
    context.addIssue({
      code: "custom",
      message: `there is no guest ${String(guest)}: ${GUEST_KINDS.join(", ")}, or an object with kind and start`,
    });
});

const verdict = z.enum(VERDICTS);
const recovery = z.enum(["stock", "txsync"]);
const since = z.templateLiteral([z.number(), ".", z.number()]);

export const workSchema = z.strictObject({
  write_rate_pages_per_s: z.exactOptional(z.int().min(0).max(WRITE_RATE_MAX)),
  working_set_bytes: z.exactOptional(count),
  chatter_lines_per_s: z.exactOptional(z.int().min(0).max(CHATTER_MAX)),
  storm_datagrams_per_s: z.exactOptional(z.int().min(0).max(STORM_MAX)),
  disk_pace_ms: z.exactOptional(z.int().min(0).max(1_000)),
  watchdogs: z.exactOptional(z.boolean()),
} satisfies { readonly [Name in keyof Required<GuestWork>]: z.ZodType });

/** What an agent is told has the agent's own ranges. */
const told = agentConfigSchema.pick({
  lease_ms: true,
  heartbeat_ms: true,
  epoch_ms: true,
  durability: true,
  log_sync: true,
  switchover_by: true,
  memory_ahead: true,
  protect: true,
  unprotected: true,
  output_held_bytes: true,
  base_ahead: true,
  base_ahead_ms: true,
  find: true,
});
export const txsyncSchema = z
  .strictObject({ ...told.shape, protect_before: z.boolean() } satisfies {
    readonly [Name in keyof TxsyncSettings]: z.ZodType;
  })
  .partial();

const migrationSchema = z.strictObject({
  switchover: z.union([switchoverSchema, z.strictObject({ stock: switchoverSchema, txsync: switchoverSchema })]),
  bandwidth_bytes_per_s: some,
  hold_target: z.exactOptional(z.boolean()),
});

/** Every field there is: one that is new is missed here by the compiler, one that is not there is refused. */
const SCENARIO_FIELDS = {
  id: z.string().regex(WORDS, `${NAME}, for it names folders`),
  group: z.string().min(1),
  title: z.string().min(1),
  guests: z.array(guestSchema).min(1),
  migration: migrationSchema,
  faults: z.array(planSchema),
  expect: z
    .strictObject({ stock: z.exactOptional(verdict), txsync: z.exactOptional(verdict) })
    .refine((expect) => Object.keys(expect).length > 0, "what ought to come out, under one recovery at least?"),
  expect_on: z.exactOptional(
    z.array(
      z
        .strictObject({
          under: recovery,
          from: z.exactOptional(since),
          before: z.exactOptional(since),
          target_from: z.exactOptional(since),
          target_before: z.exactOptional(since),
          managers: z.exactOptional(z.array(z.enum(MANAGERS)).min(1)),
          verdict,
          or: z.exactOptional(z.array(verdict).min(1)),
          why: z.string().min(1),
        })
        .refine(
          ({ under: _under, verdict: _verdict, or: _or, why: _why, ...on }) => Object.keys(on).length > 0,
          "with which versions, or which managers?",
        ),
    ),
  ),
  allow: z.exactOptional(z.array(z.strictObject({ under: recovery, verdict, why: z.string().min(1) }))),
  cell: z.exactOptional(z.strictObject({ fault: z.string(), step: z.string(), order: z.int().nonnegative() })),
  only: z.exactOptional(
    z.strictObject({
      versions: z.array(z.strictObject({ from: z.exactOptional(since), before: z.exactOptional(since) })).min(1),
      why: z.string().min(1),
    }),
  ),
  limits: z.exactOptional(
    z.array(
      z.strictObject({
        of: z.enum(LIMITED_NAMES),
        most: z.number().nonnegative(),
        under: z.exactOptional(recovery),
      }),
    ),
  ),
  tags: z.exactOptional(z.array(z.string().min(1))),
  afterwards: z.exactOptional(z.enum(["reboot", "migrate-protected"])),
  protect: z.exactOptional(z.literal("alone")),
  work: z.exactOptional(workSchema),
  txsync: z.exactOptional(txsyncSchema),
  client: z.exactOptional(z.looseObject({ name: z.string().min(1), start: functionSchema })),
  configuration: z.exactOptional(configurationSchema),
} satisfies { readonly [Field in keyof Required<Scenario>]: z.ZodType };

const scenarioSchema = z.strictObject(SCENARIO_FIELDS).superRefine(({ faults }, context) => {
  for (const [at, plan] of faults.entries()) {
    for (const which of ["at", "heal"] as const) {
      const when = plan[which];
      const other = faultIn(when);
      if (other === undefined) continue;
      const path = ["faults", at, which, when?.on === "step" ? "since" : "index"];
      if (other >= faults.length)
        context.addIssue({ code: "custom", path, message: `there is no fault ${other}: they count from 0` });
      else if (when?.on === "healed" && faults[other]?.heal === undefined)
        context.addIssue({ code: "custom", path, message: `fault ${other} is not to be healed` });
      else if (which === "at" && other === at)
        context.addIssue({ code: "custom", path, message: "a fault cannot wait for itself" });
    }
  }
});

/** The other fault that a trigger waits for. */
function faultIn(when: Trigger | undefined): number | undefined {
  if (when?.on === "step") return when.since;
  return when?.on === "fault" || when?.on === "healed" ? when.index : undefined;
}

/**
 * A scenario from outside, looked at before anything starts.
 * @param where it comes from, for the message
 * @throws UserError that names the first place in it that is wrong, and what is wrong there
 */
export function checkScenario(scenario: unknown, where: string): Scenario {
  const parsed = scenarioSchema.safeParse(scenario);
  // What the schema lets pass is what the type says; objects of somebody else's stay themselves.
  if (parsed.success) return scenario as Scenario;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? "it" : issue.path.join(".");
  throw new UserError(`${where} is no scenario: ${place}: ${issue?.message ?? "?"}.`);
}
