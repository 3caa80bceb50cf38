import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const probesSchema = z.array(
  z.object({
    /** As the command line takes it. */
    probe: z.string(),
    /** How long it took to answer once more, ms; absent: it did not. */
    answered_ms: z.number().nonnegative().optional(),
    /** What was heard last, or why nothing was. */
    last: z.string().optional(),
  }),
);
export type ProbeFindings = Readonly<z.infer<typeof probesSchema>>;

/** Asked while it is watched who moves, as users would. */
const asked = finding({
  name: "probes",
  stage: "watched",
  schema: probesSchema,
  look: async ({ guest, vm }) => (vm === undefined ? undefined : await guest.probes?.(vm)),
});

/** What the user says tells that the VM is well tells so once more when the VM has arrived. */
export const probes: Check = {
  name: "probes",
  false_means: "corrupt",
  needs: [asked],
  applies: ({ evidence }) => evidence.guest.can.includes("probes") && !evidence.held_still,
  judge: ({ evidence }) =>
    judged(asked.of(evidence), (found) => {
      const silent = found.find(({ answered_ms }) => answered_ms === undefined);
      if (silent !== undefined)
        return {
          verdict: false,
          summary: `the probe ${silent.probe} does not answer any more; the last was: ${silent.last ?? "nothing"}`,
          evidence: found.map((each) => ({ ...each, answered_ms: each.answered_ms ?? null, last: each.last ?? null })),
        };
      const words = found.map(({ probe, answered_ms }) => `${probe} after ${answered_ms} ms`);
      return { verdict: true, summary: `every probe answers: ${words.join(", ")}` };
    }),
};
