import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const count = z.number().nonnegative();
const clientSchema = z.object({
  name: z.string(),
  /** Operations that the VM acknowledged, and of which nobody knows whether they were done since the first that was. */
  acknowledged: count,
  unknown: count,
  /** The longest that the client waited for an acknowledgement that came. */
  longest_ms: count,
  /** What the client itself makes of the VM that has arrived, with its history in hand. */
  whole: z.boolean(),
  summary: z.string(),
});
export type ClientFindings = Readonly<z.infer<typeof clientSchema>>;

const ofClient = finding({
  name: "client",
  stage: "quiet",
  schema: clientSchema,
  look: async ({ client }) => await client?.(),
});

/** A client of the user's finds in the VM that has arrived what the VM had acknowledged to it. */
export const clientHistory: Check = {
  name: "client-history",
  false_means: "corrupt",
  needs: [ofClient],
  applies: ({ evidence }) => evidence.guest.can.includes("client") && !evidence.held_still,
  judge: ({ evidence }) =>
    judged(ofClient.of(evidence), ({ name, acknowledged, unknown, longest_ms, whole, summary }) => {
      const figures = { acknowledged, unknown, longest_ms };
      if (!whole) return { verdict: false, summary: `${name}: ${summary}`, evidence: figures };
      if (acknowledged === 0)
        return { verdict: "unknown", summary: `${name}: nothing was ever acknowledged`, evidence: figures };
      return {
        verdict: true,
        summary: `${name}: ${summary}; ${acknowledged} operations acknowledged, ${unknown} unknown, the longest wait was ${longest_ms} ms`,
        evidence: figures,
      };
    }),
};
