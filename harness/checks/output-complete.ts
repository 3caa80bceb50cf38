import { type Check, judged } from "./check.ts";
import { edge, inWords } from "./output.ts";

/** What was let out has come: no frame that somebody says to have let out is lost, none before one that was seen. */
export const outputComplete: Check = {
  name: "output-complete",
  false_means: "corrupt",
  needs: [edge],
  applies: ({ evidence }) => {
    const seen = edge.of(evidence);
    return evidence.gated && !(seen.state === "got" && seen.value.frames === 0);
  },
  judge: ({ evidence }) =>
    judged(edge.of(evidence), ({ frames, missing, gaps, torn, marks }) => {
      const asked =
        gaps.count + torn === 0
          ? ""
          : `; ${gaps.count} were refused because one before them was missing${gaps.count === 0 ? "" : ` (${inWords(gaps)})`}, ${torn} could not be read, and all were asked for again`;
      const short = marks.filter(({ came }) => !came);
      const marked = short.map(({ host, frame }) => `${host} says to have let out all up to frame ${frame}`);
      return missing.count === 0
        ? { verdict: true, summary: `all of ${frames} frames came${asked}` }
        : {
            verdict: false,
            summary: `${missing.count} frames never came: ${inWords(missing)}${marked.length === 0 ? "" : ` (${marked.join(", ")})`}${asked}`,
            evidence: { missing: { ...missing }, marks: marks.map((mark) => ({ ...mark })), gaps: { ...gaps } },
          };
    }),
};
