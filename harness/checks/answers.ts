import type { CheckVerdict } from "../base/timeline.ts";
import type { Check } from "./check.ts";

/**
 * Whether monitors answered what faults asked of them as those say. As with limits, a run in which they did not is not as
 * expected, and the VM's verdict is what it is.
 */
export const answers: Check = {
  name: "answers",
  false_means: "untidy",
  applies: ({ scenario }) => scenario.faults.some(({ asks }) => asks !== undefined),
  judge({ scenario, events }) {
    const results = scenario.faults.flatMap(({ id, asks }): { holds: CheckVerdict; said: string }[] => {
      if (asks === undefined) return [];
      const { what, answer } = asks;
      const found = events.find((event) => event.kind === "qmp.answer" && event.id === id);
      if (found?.kind !== "qmp.answer") return [{ holds: "unknown", said: `${what} was never asked` }];
      const took = `${Math.round(found.answer_ms)} ms`;
      const error = found.error === undefined ? "" : ` (${found.error})`;
      const said = found.answered ? `${what} was answered after ${took}` : `${what} was not answered within ${took}`;
      return [{ holds: answer === "either" || (answer === "in-time") === found.answered, said: `${said}${error}` }];
    });
    const verdict = results.some(({ holds }) => holds === false)
      ? false
      : results.some(({ holds }) => holds === "unknown")
        ? "unknown"
        : true;
    return { verdict, summary: results.map(({ said }) => said).join("; ") };
  },
};
