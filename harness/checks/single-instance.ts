import { type Check, movers, unread } from "./check.ts";

/** Never two: at most one instance makes progress. (That there is one is vm-running's matter.) */
export const singleInstance: Check = {
  name: "single-instance",
  false_means: "split-brain",
  applies: () => true,
  judge(evidence) {
    const moving = movers(evidence);
    if (evidence.progress.length === 0)
      return { verdict: "unknown", summary: "nobody looked whether it makes progress" };
    const hidden = unread(evidence);
    if (moving.length <= 1 && hidden.length > 0)
      return { verdict: "unknown", summary: `could not see whether a second one moves: ${hidden.join(", ")}` };
    if (moving.length <= 1)
      return {
        verdict: true,
        summary: moving.length === 1 ? `one instance, on ${moving[0]}` : "no instance makes progress",
      };
    if (evidence.succeeded === "unheard")
      return {
        verdict: "unknown",
        summary: `instances move on ${moving.join(" and ")}, and the owner lets nothing out by which they could be told`,
      };
    return { verdict: false, summary: `${moving.length} instances make progress: ${moving.join(" and ")}` };
  },
};
