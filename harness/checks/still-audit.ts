import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const count = z.number().nonnegative();
const difference = z.object({ block: z.string(), page: count, source: z.string(), target: z.string() });
export type BlockDifference = Readonly<z.infer<typeof difference>>;

const stillSchema = z.object({
  blocks: z.array(z.object({ name: z.string(), pages: count, differing: count })).readonly(),
  differing: z.array(difference).readonly(),
  /** Pages that differ in nothing but the clock that KVM itself keeps in the guest's memory; not among the others. */
  kvm_clocks: z.array(z.object({ block: z.string(), page: count, offset: count })).readonly(),
});
export type StillFindings = Readonly<z.infer<typeof stillSchema>>;

export const still = finding({
  name: "still",
  stage: "quiet",
  schema: stillSchema,
  look: async ({ vm, compareStill }) => (vm === undefined ? undefined : await compareStill(vm)),
});

/** Source and target, both still, agree on every page of every RAM block; what KVM writes there itself is named. */
export const stillAudit: Check = {
  name: "still-audit",
  false_means: "corrupt",
  needs: [still],
  applies: ({ evidence }) => evidence.held_still,
  judge: ({ evidence: seen }) =>
    judged(still.of(seen), ({ blocks, differing, kvm_clocks }) => {
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
