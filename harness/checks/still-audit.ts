import { type Check, judged } from "./check.ts";

/** Source and target, both still, agree on every page of every RAM block. */
export const stillAudit: Check = {
  name: "still-audit",
  false_means: "corrupt",
  applies: ({ held_still }) => held_still,
  judge: ({ still }) =>
    judged(still, ({ blocks, differing }) => {
      const pages = blocks.reduce((sum, block) => sum + block.pages, 0);
      const evidence = {
        blocks: blocks.map((block) => ({ ...block })),
        differing: differing.map((page) => ({ ...page })),
      };
      const wrong = blocks.reduce((sum, block) => sum + block.differing, 0);
      if (pages === 0) return { verdict: "unknown", summary: "no page was compared" };
      if (wrong === 0)
        return { verdict: true, summary: `${pages} pages of ${blocks.length} RAM blocks are equal`, evidence };
      const [first] = differing;
      return {
        verdict: false,
        summary: `${wrong} of ${pages} pages differ; the first: ${first?.block} page ${first?.page}, ${first?.target} on the target, ${first?.source} on the source`,
        evidence,
      };
    }),
};
