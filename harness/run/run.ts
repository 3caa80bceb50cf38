import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { CheckResult } from "../base/run-record.ts";
import type { Evidence } from "../checks/evidence.ts";
import { nothingLeft } from "../checks/nothing-left.ts";
import { struck } from "../checks/struck.ts";
import { type Judged, judge } from "../checks/verdict.ts";
import { whereOf } from "../faults/index.ts";
import { findLeftovers } from "../fleet/clean.ts";
import { besidesVerdict, expectedOf } from "./expectation.ts";
import { gather } from "./gather.ts";
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
  const { scenario, recovery, seed } = request;
  const id = `${scenario.id}-${recovery}-${request.accel}-${randomBytes(4).toString("hex")}`;
  const folder = join(environment.runs_folder, id);
  mkdirSync(folder, { recursive: true });
  const started_at = new Date().toISOString();
  const timeline = new Timeline(join(folder, "timeline.ndjson"));
  if (request.onEvent) timeline.onEvent(request.onEvent);
  timeline.emit("run", { kind: "run.started", scenario: scenario.id, recovery, seed });
  const clock = new PhaseClock(timeline);
  const play = new Play({ environment, request, id, folder, timeline, clock });
  let judged: Judged;
  let error: string | undefined;
  try {
    judged = judgedOf(await play.run(), scenario, timeline);
  } catch (thrown) {
    error = messageOf(thrown);
    judged = { verdict: "unknown", why: `the harness failed: ${error.split("\n")[0]}`, checks: [] };
  }
  const checks: CheckResult[] = [...judged.checks];
  if (!request.keep) checks.push(nothingLeft(await gather(() => findLeftovers(environment.docker, id))));
  const timings = { ...clock.timings(judged.verdict !== "lost"), ...recoveryTimings(timeline.events) };
  const besides = besidesVerdict(scenario, recovery, timings, timeline.events);
  checks.push(...besides.results);
  for (const result of checks) {
    timeline.emit("check", {
      kind: "check.result",
      check: result.check,
      verdict: result.verdict,
      summary: result.summary,
    });
  }
  const expected = expectedOf(scenario, recovery, environment.qemu_version);
  const tidy = checks.every(({ check, verdict }) => check !== "nothing-left" || verdict === true);
  const as_expected =
    error === undefined && judged.verdict === expected.verdict && tidy && besides.broken === undefined;
  timeline.emit("run", { kind: "run.finished", verdict: judged.verdict, as_expected });
  const record = recordOf(environment, request, {
    id,
    started_at,
    judged: {
      ...judged,
      why: besides.broken === undefined ? judged.why : `${judged.why}; but ${besides.broken}`,
      checks,
    },
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

function judgedOf(evidence: Evidence, { faults }: Scenario, { events }: Timeline): Judged {
  const named = faults.map(({ fault }, index) => ({
    id: faultId(index),
    name: `fault ${index} (${fault.fault}, ${whereOf(fault)})`,
  }));
  return struck(judge(evidence), named, events);
}
