import * as z from "zod";
import { HOST_ROLES } from "../base/timeline.ts";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const host = z.enum(HOST_ROLES);
const againSchema = z.object({ from: host, to: host, steps_before: z.number(), steps_after: z.number() });
export type MigrateAgainFindings = Readonly<z.infer<typeof againSchema>>;

export const again = finding({
  name: "again",
  stage: "let-go",
  schema: againSchema,
  look: async ({ vm, migrateAgain: carryOver }) => (vm === undefined ? undefined : await carryOver(vm)),
});

/** The VM that arrived is a whole VM: it can be migrated again, and goes on. */
export const migrateAgain: Check = {
  name: "migrate-again",
  false_means: "corrupt",
  needs: [again],
  // A storage that tells generations apart lets a plain QEMU only read: that of a guest at work on its disks would stop.
  applies: ({ evidence }) => !evidence.held_still && !evidence.guest.can.includes("images"),
  judge: ({ evidence }) =>
    judged(again.of(evidence), ({ from, to, steps_before, steps_after }) =>
      steps_after > steps_before
        ? {
            verdict: true,
            summary: `migrated again from ${from} to ${to} and went on from step ${steps_before} to ${steps_after}`,
          }
        : { verdict: false, summary: `migrated again from ${from} to ${to}, and stands still at step ${steps_after}` },
    ),
};
