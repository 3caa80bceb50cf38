import type { Check } from "./check.ts";

/** What the owner says it has let out has come outside: no frame of it is lost. */
export const outputComplete: Check = {
  name: "output-complete",
  false_means: "corrupt",
  applies: ({ edge }) => edge !== undefined && edge.frames > 0,
  judge({ edge }) {
    const { frames = 0, missing = 0, refused = 0, torn = 0 } = edge ?? {};
    const asked = `; ${refused} were refused because one before them was missing, ${torn} could not be read, and all were asked for again`;
    return missing === 0
      ? { verdict: true, summary: `all of ${frames} frames came${refused + torn === 0 ? "" : asked}` }
      : {
          verdict: false,
          summary: `${missing} frames that the owner let out after frame ${frames} never came${asked}`,
        };
  },
};
