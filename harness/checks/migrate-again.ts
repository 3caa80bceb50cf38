import { type Check, judged } from "./check.ts";

/** The VM that arrived is a whole VM: it can be migrated again, and goes on. */
export const migrateAgain: Check = {
  name: "migrate-again",
  false_means: "corrupt",
  applies: ({ held_still }) => !held_still,
  judge: ({ again }) =>
    judged(again, ({ from, to, steps_before, steps_after }) =>
      steps_after > steps_before
        ? {
            verdict: true,
            summary: `migrated again from ${from} to ${to} and went on from step ${steps_before} to ${steps_after}`,
          }
        : { verdict: false, summary: `migrated again from ${from} to ${to}, and stands still at step ${steps_after}` },
    ),
};
