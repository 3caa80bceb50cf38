import { type Check, judged } from "./check.ts";

/** Source and target, both still, agree on every page of every RAM block; what KVM writes there itself is named. */
export const stillAudit: Check = {
  name: "still-audit",
  false_means: "corrupt",
  applies: ({ held_still }) => held_still,
  judge: ({ still }) =>
    judged(still, ({ blocks, differing, kvm_clocks }) => {
      const pages = blocks.reduce((sum, block) => sum + block.pages, 0);
      const evidence = {
        blocks: blocks.map((block) => ({ ...block })),
        differing: differing.map((page) => ({ ...page })),
        kvm_clocks: kvm_clocks.map((clock) => ({ ...clock })),
      };
      const wrong = blocks.reduce((sum, block) => sum + block.differing, 0);
      if (pages === 0) return { verdict: "unknown", summary: "no page was compared" };
      if (wrong === 0) {
        const but = kvm_clocks.map(({ block, page }) => `, but for the clock that KVM keeps in ${block} page ${page}`);
        const summary = `${pages} pages of ${blocks.length} RAM blocks are equal${but.join("")}`;
        return { verdict: true, summary, evidence };
      }
      const [first] = differing;
      return {
        verdict: false,
        summary: `${wrong} of ${pages} pages differ; the first: ${first?.block} page ${first?.page}, ${first?.target} on the target, ${first?.source} on the source`,
        evidence,
      };
    }),
};
