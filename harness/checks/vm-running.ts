import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import { type Check, movers, unread } from "./check.ts";

/**
 * A VM runs. That it is the one its owner takes it for is not enough: an old instance that came back to life runs too,
 * and is found out by the checks of its memory, its ledger and what the world had seen.
 */
export const vmRunning: Check = {
  name: "vm-running",
  false_means: "lost",
  applies: ({ evidence }) => !evidence.held_still,
  judge({ evidence, events }) {
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
    const summary = `no instance makes progress: ${settled}${deathOf(owner, events)}`;
    return { verdict: false, summary, evidence: samples };
  },
};

/** How the QEMU of the VM's owner ended, where it did before anybody took it down: a migration may have gone well before. */
function deathOf(owner: HostRole | "none", events: readonly TimelineEvent[]): string {
  const end = events.findIndex((event) => event.kind === "run.phase" && event.phase === "teardown");
  const ofOwner = events
    .slice(0, end < 0 ? undefined : end)
    .filter(({ lane, kind }) => lane === owner && (kind === "qemu.started" || kind === "qemu.exited"));
  const last = ofOwner.at(-1);
  if (last?.kind !== "qemu.exited") return "";
  const how = last.code === null ? "by a signal" : `with code ${last.code}`;
  const words = last.last_lines.at(-1);
  return `, but the QEMU on ${owner} ended ${how}${words === undefined ? "" : `: ${words}`}`;
}
