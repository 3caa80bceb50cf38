import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";
import { memorySchema } from "./memory-model.ts";

/** `what`: "reset on source". */
const afterwardsSchema = z.object({ what: z.string(), memory: memorySchema });
export type AfterwardsFindings = Readonly<z.infer<typeof afterwardsSchema>>;

export const putThrough = finding({
  name: "afterwards",
  stage: "afterwards",
  schema: afterwardsSchema,
  look: async ({ vm, afterwards: doIt }) => (vm === undefined ? undefined : await doIt(vm)),
});

/** A recovered VM is a full VM: what it was put through left its memory as the rule says. */
export const afterwards: Check = {
  name: "afterwards",
  false_means: "corrupt",
  needs: [putThrough],
  applies: ({ evidence }) => evidence.afterwards !== undefined && putThrough.of(evidence).state !== "absent",
  judge: ({ evidence }) =>
    judged(putThrough.of(evidence), ({ what, memory }) => ({
      verdict: memory.bad_count === 0 && memory.pages_checked > 0,
      summary: `${what}: ${memory.bad_count} of ${memory.pages_checked} pages are wrong at step ${memory.step}`,
      evidence: memory.bad.map((page) => ({ ...page })),
    })),
};
