import * as z from "zod";
import { configurationSchema } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import { FALSE_MEANS } from "../checks/check.ts";
import { STAGES } from "../checks/finding.ts";
import { functionSchema, guestSchema, txsyncSchema, workSchema } from "../run/scenario-schema.ts";

/** What of the options that somebody hands in can be wrong. */

const MEMORY_MIB_MAX = 1024 * 1024;
const memory_mib = z.int().min(16).max(MEMORY_MIB_MAX);

const findingSchema = z.looseObject({
  name: z.string().min(1),
  stage: z.enum(STAGES),
  look: functionSchema,
  of: functionSchema,
  written: functionSchema,
});

export const checkSchema = z.looseObject({
  name: z.string().min(1),
  false_means: z.enum(FALSE_MEANS),
  needs: z.exactOptional(z.array(findingSchema)),
  applies: functionSchema,
  judge: functionSchema,
});

const checksSchema = z.array(checkSchema).superRefine((checks, context) => {
  for (const [at, { name }] of checks.entries())
    if (checks.findIndex((check) => check.name === name) < at)
      context.addIssue({ code: "custom", path: [at, "name"], message: `another check is called ${name} already` });
});

export const ferrymanSchema = z.strictObject({
  qemu: z.string().min(1).optional(),
  target_qemu: z.string().min(1).optional(),
  runs: z.string().min(1).optional(),
  accel: z.enum(["auto", "kvm", "tcg"]).optional(),
  memory_mib: memory_mib.optional(),
  one_at_a_time: z.boolean().optional(),
});

export const playSchema = z.strictObject({
  recovery: z.enum(["stock", "txsync"]).optional(),
  guest: guestSchema.optional(),
  accel: z.enum(["auto", "kvm", "tcg"]).optional(),
  memory_mib: memory_mib.optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .optional(),
  checks: checksSchema.optional(),
  work: workSchema.optional(),
  txsync: txsyncSchema.optional(),
  configuration: configurationSchema.optional(),
  patience_ms: z.int().min(1).optional(),
  onEvent: functionSchema.optional(),
});

/** @throws UserError that names the first place in what was handed in that is wrong, and what is wrong there */
export function refuseBad(schema: z.ZodType, value: unknown, where: string): void {
  const [issue] = schema.safeParse(value).error?.issues ?? [];
  if (issue === undefined) return;
  const place = issue.path.length === 0 ? "" : `${issue.path.map(String).join(".")}: `;
  throw new UserError(`${where}: ${place}${issue.message}.`);
}
