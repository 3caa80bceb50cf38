import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { JudgedScenario } from "../checks/check.ts";
import { CHECKS } from "../checks/index.ts";
import { judge } from "../checks/verdict.ts";
import { whereOf } from "../faults/index.ts";
import { findLeftovers } from "../fleet/clean.ts";
import { writeEvidence } from "./evidence-file.ts";
import { besidesVerdict, expectedOf, isExpected } from "./expectation.ts";
import { brokenOff, type EvidenceDraft, lookWhenTakenDown } from "./looks.ts";
import { PhaseClock } from "./phase-clock.ts";
import { Play } from "./play.ts";
import { recordOf } from "./record.ts";
import { recoveryTimings } from "./recovery-timings.ts";
import type { FinishedRun, RunEnvironment, RunRequest } from "./request.ts";
import type { Scenario } from "./scenario.ts";
import { Timeline } from "./timeline.ts";
import { faultId } from "./trigger.ts";

/** One run from start to verdict. It never throws for what happens in the run: that is in the record. */
export async function runScenario(environment: RunEnvironment, request: RunRequest): Promise<FinishedRun> {
  const { scenario, recovery, seed, checks = CHECKS } = request;
  const id = `${scenario.id}-${recovery}-${request.accel}-${randomBytes(4).toString("hex")}`;
  const folder = join(environment.runs_folder, id);
  mkdirSync(folder, { recursive: true });
  const started_at = new Date().toISOString();
  const timeline = new Timeline(join(folder, "timeline.ndjson"));
  if (request.onEvent) timeline.onEvent(request.onEvent);
  timeline.emit("run", { kind: "run.started", scenario: scenario.id, recovery, seed });
  const clock = new PhaseClock(timeline);
  const play = new Play({ environment, request, id, folder, timeline, clock });
  let draft: EvidenceDraft;
  try {
    draft = await play.run();
  } catch (thrown) {
    draft = brokenOff(request.guest, messageOf(thrown));
  }
  const leftovers = async () => (request.keep ? undefined : await findLeftovers(environment.docker, id));
  const whole = await lookWhenTakenDown(checks, draft, timeline.events, leftovers);
  const { evidence, sha256 } = await writeEvidence(folder, whole, timeline.events);
  const judged = judge(judgedScenario(scenario), timeline.events, evidence, checks);
  const { error } = evidence;
  const timings = { ...clock.timings(judged.verdict !== "lost"), ...recoveryTimings(timeline.events) };
  const besides = besidesVerdict(scenario, recovery, timings, timeline.events);
  const results = [...judged.checks, ...besides.results];
  for (const { check, verdict, summary } of results)
    timeline.emit("check", { kind: "check.result", check, verdict, summary });
  const expected = expectedOf(scenario, recovery, environment.qemu_version);
  const tidy = judged.untidy.length === 0 && besides.broken === undefined;
  const as_expected = error === undefined && isExpected(expected, judged.verdict) && tidy;
  timeline.emit("run", { kind: "run.finished", verdict: judged.verdict, as_expected });
  const record = recordOf(environment, request, {
    id,
    started_at,
    judged: {
      ...judged,
      why: besides.broken === undefined ? judged.why : `${judged.why}; but ${besides.broken}`,
      checks: results,
    },
    evidence_sha256: sha256,
    expected,
    as_expected,
    tries: play.tries,
    timings,
    error,
  });
  await timeline.close();
  await writeFile(join(folder, "run.json"), `${JSON.stringify(record, null, 2)}\n`);
  return { record, folder };
}

/** What of a scenario has to be known to judge a run of it. */
export function judgedScenario({ faults }: Scenario): JudgedScenario {
  return {
    faults: faults.map(({ fault }, index) => ({
      id: faultId(index),
      name: `fault ${index} (${fault.fault}, ${whereOf(fault)})`,
    })),
  };
}
