import { type Check, movers, unread } from "./check.ts";

/**
 * A VM runs. That it is the one its owner takes it for is not enough: an old instance that came back to life runs too,
 * and is found out by the checks of its memory, its ledger and what the world had seen.
 */
export const vmRunning: Check = {
  name: "vm-running",
  false_means: "lost",
  applies: ({ evidence }) => !evidence.held_still,
  judge({ evidence }) {
    const { owner, settled } = evidence;
    const moving = movers(evidence);
    const samples = {
      samples: evidence.progress.map((sample) => ({
        host: sample.host,
        before: sample.before ?? null,
        after: sample.after ?? null,
        watched_ms: sample.watched_ms,
        ...(sample.failed === undefined ? {} : { failed: sample.failed }),
      })),
    };
    if (owner !== "none" && moving.includes(owner)) {
      return { verdict: true, summary: `the VM runs on ${owner}`, evidence: samples };
    }
    if (moving.length > 0) {
      const where = moving.join(" and ");
      return {
        verdict: true,
        summary: `a VM runs on ${where}, though by the manager's word: ${settled}`,
        evidence: samples,
      };
    }
    if (evidence.progress.length === 0)
      return { verdict: "unknown", summary: "nobody looked whether it makes progress" };
    const hidden = unread(evidence);
    if (hidden.length > 0)
      return {
        verdict: "unknown",
        summary: `could not see whether it moves: ${hidden.join(", ")}; ${settled}`,
        evidence: samples,
      };
    return { verdict: false, summary: `no instance makes progress: ${settled}`, evidence: samples };
  },
};
