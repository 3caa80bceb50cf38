import { type Check, judged } from "./check.ts";

/** Every acknowledged append is there, once, in order; no read ever went back. */
export const ledger: Check = {
  name: "ledger",
  false_means: "corrupt",
  applies: ({ guest_kind, held_still }) => guest_kind === "integrity" && !held_still,
  judge: ({ ledger: gathered }) =>
    judged(gathered, ({ verdict, summary, evidence }) => ({ verdict, summary, evidence: [...evidence] })),
};
