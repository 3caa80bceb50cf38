import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

/** A page that is not what the rule says. Contents are described in words, such as "content of step 12". */
const wrongPage = z.object({ page: z.number(), address: z.number(), expected: z.string(), found: z.string() });
export type WrongPage = Readonly<z.infer<typeof wrongPage>>;

const count = z.number().nonnegative();
export const memorySchema = z.object({
  step: count,
  pages_checked: count,
  bad_count: count,
  /** The first of them. */
  bad: z.array(wrongPage).readonly(),
});
export type MemoryFindings = Readonly<z.infer<typeof memorySchema>>;

export const memory = finding({
  name: "memory",
  stage: "quiet",
  schema: memorySchema,
  look: async ({ guest, vm }) => (vm === undefined ? undefined : await guest.memory(vm)),
});

/** Every byte of the guest's working memory equals what (seed, step) says, read by the harness from the RAM file. */
export const memoryModel: Check = {
  name: "memory-model",
  false_means: "corrupt",
  needs: [memory],
  applies: ({ evidence }) => evidence.guest.can.includes("memory"),
  judge: ({ evidence }) =>
    judged(memory.of(evidence), ({ step, pages_checked, bad_count, bad }) => {
      if (pages_checked === 0) return { verdict: "unknown", summary: "no page was checked" };
      if (bad_count === 0) return { verdict: true, summary: `${pages_checked} pages are what step ${step} says` };
      return {
        verdict: false,
        summary: `${bad_count} of ${pages_checked} pages are wrong at step ${step}; the first: page ${bad[0]?.page}, ${bad[0]?.found} where ${bad[0]?.expected} belongs`,
        evidence: { step, wrong_pages: bad.map((page) => ({ ...page })) },
      };
    }),
};
