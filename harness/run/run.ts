import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Manager } from "../base/configuration.ts";
import { messageOf } from "../base/errors.ts";
import type { Recovery } from "../base/run-record.ts";
import type { JudgedScenario } from "../checks/check.ts";
import { CHECKS } from "../checks/index.ts";
import { timingsOf } from "../checks/timings.ts";
import { judge } from "../checks/verdict.ts";
import { findLeftovers } from "../fleet/clean.ts";
import { managerOf } from "./configure.ts";
import { sha256Of, writeEvidence } from "./evidence-file.ts";
import { type Circumstances, expectedOf, isExpected, limitsUnder } from "./expectation.ts";
import { filesLeft } from "./files-left.ts";
import { guestName } from "./guests/index.ts";
import { askedDigest, scenarioOf } from "./judge-again.ts";
import { brokenOff, type EvidenceDraft, lookWhenTakenDown } from "./looks.ts";
import { Play } from "./play.ts";
import { faultsRecorded, recordOf } from "./record.ts";
import type { FinishedRun, RunEnvironment, RunRequest } from "./request.ts";
import type { Scenario } from "./scenario.ts";
import { Timeline } from "./timeline.ts";

/** One run from start to verdict. It never throws for what happens in the run: that is in the record. */
export async function runScenario(environment: RunEnvironment, request: RunRequest): Promise<FinishedRun> {
  const { scenario, recovery, seed, checks = CHECKS } = request;
  const id = `${scenario.id}-${folderWord(managerOf(request)) ?? recovery}-${request.accel}-${randomBytes(4).toString("hex")}`;
  const folder = join(environment.runs_folder, id);
  mkdirSync(folder, { recursive: true });
  const started_at = new Date().toISOString();
  const timeline = new Timeline(join(folder, "timeline.ndjson"));
  if (request.onEvent) timeline.onEvent(request.onEvent);
  const asked_sha256 = askedDigest(judgedScenario(scenario, recovery));
  timeline.emit("run", { kind: "run.started", scenario: scenario.id, recovery, seed, asked_sha256 });
  const play = new Play({ environment, request, id, folder, timeline });
  let draft: EvidenceDraft;
  try {
    draft = await play.run();
  } catch (thrown) {
    draft = brokenOff(guestName(request.guest), messageOf(thrown));
  }
  const leftovers = async () => (request.keep ? undefined : await findLeftovers(environment.docker, id));
  const whole = await lookWhenTakenDown(checks, draft, timeline.events, leftovers);
  const left = { ...whole, files: await filesLeft(folder) };
  const events = timeline.seal();
  const { evidence, sha256 } = await writeEvidence(folder, left, events);
  const judged = judge(judgedScenario(scenario, recovery), events, evidence, checks);
  const { error } = evidence;
  const timings = timingsOf(events, judged.verdict !== "lost");
  for (const { check, verdict, summary } of judged.checks)
    timeline.emit("check", { kind: "check.result", check, verdict, summary });
  const expected = expectedOf(scenario, circumstancesOf(environment, request));
  const tidy = judged.untidy.length === 0;
  const as_expected = error === undefined && isExpected(expected, judged.verdict) && tidy;
  const record = recordOf(environment, request, {
    id,
    started_at,
    judged,
    evidence_sha256: sha256,
    expected,
    as_expected,
    tries: play.tries,
    timings,
    error,
  });
  const text = `${JSON.stringify(record, null, 2)}\n`;
  const seals = { evidence_sha256: sha256, record_sha256: sha256Of(text) };
  timeline.emit("run", { kind: "run.finished", verdict: judged.verdict, as_expected, ...seals });
  await timeline.close();
  await writeFile(join(folder, "run.json"), text);
  return { record, folder, untidy: judged.untidy };
}

/** Of a manager's name what may stand in the name of a folder, and of a container; undefined where `stock` says enough. */
function folderWord(manager: Manager | undefined): string | undefined {
  return manager === undefined || manager === "qmp" ? undefined : `stock-${manager.replace(":", "-")}`;
}

/** What the expectation of a run may depend on. */
function circumstancesOf(environment: RunEnvironment, request: RunRequest): Circumstances {
  const manager = managerOf(request);
  return {
    recovery: request.recovery,
    qemu_version: environment.qemu_version,
    ...(environment.target === undefined ? {} : { target_version: environment.target.qemu_version }),
    ...(manager === undefined ? {} : { manager }),
  };
}

/** What of a scenario has to be known to judge a run of it. */
export function judgedScenario(scenario: Scenario, recovery: Recovery): JudgedScenario {
  return scenarioOf({ faults: faultsRecorded(scenario), limits: limitsUnder(scenario, recovery) });
}
