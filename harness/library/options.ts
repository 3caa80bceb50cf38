import * as z from "zod";
import { configurationSchema, MANAGERS } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import { FALSE_MEANS } from "../checks/check.ts";
import { STAGES } from "../checks/finding.ts";
import { functionSchema, guestSchema, txsyncSchema, workSchema } from "../run/scenario-schema.ts";
import type { FerrymanOptions, PlayOptions } from "./ferryman.ts";

/** What of the options that somebody hands in can be wrong. */

/** As on the command line. */
const MEMORY_MIB = { least: 32, most: 1024 * 1024 } as const;
const memory_mib = z.int().min(MEMORY_MIB.least).max(MEMORY_MIB.most);

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

/** Every option there is: one that is new is missed here by the compiler, one that is not there is refused. */
type Fields<Options> = { readonly [Name in keyof Required<Options>]: z.ZodType };

export const ferrymanSchema = z.strictObject({
  qemu: z.string().min(1).optional(),
  target_qemu: z.string().min(1).optional(),
  runs: z.string().min(1).optional(),
  accel: z.enum(["auto", "kvm", "tcg"]).optional(),
  memory_mib: memory_mib.optional(),
  one_at_a_time: z.boolean().optional(),
} satisfies Fields<FerrymanOptions>);

export const playSchema = z.strictObject({
  recovery: z.enum(["stock", "txsync"]).optional(),
  manager: z.enum(MANAGERS).optional(),
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
} satisfies Fields<PlayOptions>);

/** @throws UserError that names the first place in what was handed in that is wrong, and what is wrong there */
export function refuseBad(schema: z.ZodType, value: unknown, where: string): void {
  const [issue] = schema.safeParse(value).error?.issues ?? [];
  if (issue === undefined) return;
  const place = issue.path.length === 0 ? "" : `${issue.path.map(String).join(".")}: `;
  throw new UserError(`${where}: ${place}${issue.message}.`);
}
