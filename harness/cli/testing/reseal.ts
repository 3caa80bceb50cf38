import type { TimelineEvent } from "../../base/timeline.ts";
import { type Evidence, timelineDigest } from "../../checks/evidence.ts";
import { sha256Of } from "../../run/evidence-file.ts";
import { askedDigest, scenarioOf } from "../../run/judge-again.ts";
import { isEnding } from "../../run/timeline.ts";
import type { RunTexts } from "../judge.ts";

/** The files with every digest in them computed anew; as they are where one of them is no such file any more. */
export function resealed(texts: RunTexts): RunTexts {
  try {
    const lines = texts.timeline.split("\n").filter((line) => line !== "");
    const events = lines.map((line) => JSON.parse(line) as TimelineEvent);
    const record = JSON.parse(texts.record);
    const asked_sha256 = askedDigest(scenarioOf(record));
    const begun = events.map((event) =>
      event.kind === "run.started" && event.asked_sha256 ? { ...event, asked_sha256 } : event,
    );
    const behind = events.findIndex(isEnding);
    const sealed: Evidence = {
      ...JSON.parse(texts.evidence),
      timeline: timelineDigest(begun.slice(0, behind < 0 ? undefined : behind)),
    };
    const evidence = `${JSON.stringify(sealed, null, 1)}\n`;
    const evidence_sha256 = sha256Of(evidence);
    const whole = `${JSON.stringify({ ...record, evidence_sha256 }, null, 2)}\n`;
    const seals = { evidence_sha256, record_sha256: sha256Of(whole) };
    const ended = begun.map((event) => (event.kind === "run.finished" ? { ...event, ...seals } : event));
    return { record: whole, evidence, timeline: ended.map((event) => `${JSON.stringify(event)}\n`).join("") };
  } catch (thrown) {
    if (thrown instanceof SyntaxError || thrown instanceof TypeError) return texts;
    throw thrown;
  }
}
