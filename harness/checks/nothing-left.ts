import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const names = z.array(z.string()).readonly();
const leftoverSchema = z.object({ containers: names, networks: names });
export type LeftoverFindings = Readonly<z.infer<typeof leftoverSchema>>;

export const leftovers = finding({
  name: "leftovers",
  stage: "taken-down",
  of_vm: false,
  schema: leftoverSchema,
  look: async (view) => await view.leftovers(),
});

/** After the run no container and no network of it is there any more. Looked at when everything was taken down. */
export const nothingLeft: Check = {
  name: "nothing-left",
  false_means: "untidy",
  needs: [leftovers],
  // Absent: it was asked to be kept.
  applies: ({ evidence }) => leftovers.of(evidence).state !== "absent",
  judge: ({ evidence }) =>
    judged(leftovers.of(evidence), ({ containers, networks }) => {
      const left = [...containers, ...networks];
      return left.length === 0
        ? { verdict: true, summary: "no container, network or volume of the run is left" }
        : { verdict: false, summary: `left over: ${left.join(", ")}`, evidence: left };
    }),
};
