import { type Check, judged } from "./check.ts";
import { edge, inWords } from "./output.ts";

/**
 * What was let out has come: no frame that somebody says to have let out is lost, none before one that was seen. Nor was a
 * frame let out with one missing before it: whoever does that has taken for arrived what had not, and only a world that
 * counts and asks again has it all.
 */
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
      const refused = `${gaps.count} times output was let out although some before it had not come (${inWords(gaps)})`;
      const asked = torn === 0 ? "" : `; ${torn} could not be read, and were asked for again`;
      const short = marks.filter(({ came }) => !came);
      const marked = short.map(({ host, frame }) => `${host} says to have let out all up to frame ${frame}`);
      const evidence = { missing: { ...missing }, marks: marks.map((mark) => ({ ...mark })), gaps: { ...gaps } };
      if (missing.count === 0 && gaps.count > 0)
        return { verdict: false, summary: `${refused}; it was asked for again, and came${asked}`, evidence };
      const besides = gaps.count === 0 ? asked : `; ${refused}${asked}`;
      return missing.count === 0
        ? { verdict: true, summary: `all of ${frames} frames came${asked}` }
        : {
            verdict: false,
            summary: `${missing.count} frames never came: ${inWords(missing)}${marked.length === 0 ? "" : ` (${marked.join(", ")})`}${besides}`,
            evidence,
          };
    }),
};
