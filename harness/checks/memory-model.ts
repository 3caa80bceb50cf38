import { type Check, judged } from "./check.ts";

/** Every byte of the guest's working memory equals what (seed, step) says, read by the harness from the RAM file. */
export const memoryModel: Check = {
  name: "memory-model",
  false_means: "corrupt",
  applies: ({ guest_kind }) => guest_kind === "integrity",
  judge: ({ memory }) =>
    judged(memory, ({ step, pages_checked, bad_count, bad }) => {
      if (pages_checked === 0) return { verdict: "unknown", summary: "no page was checked" };
      if (bad_count === 0) return { verdict: true, summary: `${pages_checked} pages are what step ${step} says` };
      return {
        verdict: false,
        summary: `${bad_count} of ${pages_checked} pages are wrong at step ${step}; the first: page ${bad[0]?.page}, ${bad[0]?.found} where ${bad[0]?.expected} belongs`,
        evidence: { step, wrong_pages: bad.map((page) => ({ ...page })) },
      };
    }),
};
