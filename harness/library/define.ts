import * as z from "zod";
import { UserError } from "../base/errors.ts";
import { VERDICTS } from "../base/timeline.ts";
import { FAULTS } from "../faults/index.ts";
import type { Scenario } from "../run/scenario.ts";

const verdict = z.enum(VERDICTS);
const trigger = z.looseObject({
  on: z.string(),
  percent: z.exactOptional(z.number().gt(0).max(100)),
  index: z.exactOptional(z.int().nonnegative()),
  count: z.exactOptional(z.int().positive()),
  after_ms: z.exactOptional(z.number().nonnegative()),
});

/** What can be wrong in a scenario of somebody who writes JavaScript, or has its data from elsewhere. */
const scenarioSchema = z
  .looseObject({
    id: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, "lower-case words with hyphens between, for it names folders"),
    title: z.string().min(1),
    guests: z.array(z.string()).min(1),
    migration: z.looseObject({ bandwidth_bytes_per_s: z.number().positive() }),
    faults: z.array(
      z.looseObject({
        fault: z.looseObject({
          fault: z.string().refine((name) => name in FAULTS, `a fault is one of ${Object.keys(FAULTS).join(", ")}`),
        }),
        at: trigger,
        heal: z.exactOptional(trigger),
      }),
    ),
    expect: z
      .strictObject({ stock: z.exactOptional(verdict), txsync: z.exactOptional(verdict) })
      .refine((expected) => Object.keys(expected).length > 0, "what ought to come out, under one recovery at least?"),
  })
  .superRefine(({ faults }, context) => {
    for (const [at, plan] of faults.entries())
      for (const which of ["at", "heal"] as const) {
        const index = plan[which]?.index;
        if (index !== undefined && index >= faults.length)
          context.addIssue({
            code: "custom",
            path: ["faults", at, which, "index"],
            message: `there is no fault ${index}: they count from 0`,
          });
      }
  });

/** `guests` and `group` may be left out: the guest whose memory can be told byte for byte, and a group of your own. */
export type ScenarioOfYours = Omit<Scenario, "guests" | "group"> & Partial<Pick<Scenario, "guests" | "group">>;

/**
 * A scenario of your own, looked at before anything starts.
 * @throws UserError that names the first place in it that is wrong, and what is wrong there
 */
export function defineScenario(scenario: ScenarioOfYours): Scenario {
  const whole: Scenario = { group: "controls", guests: ["integrity"], ...scenario };
  const parsed = scenarioSchema.safeParse(whole);
  if (parsed.success) return whole;
  const [issue] = parsed.error.issues;
  const place = issue?.path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("") ?? "";
  throw new UserError(`scenario ${String(scenario?.id)}${place}: ${issue?.message ?? "it is no scenario"}`);
}
