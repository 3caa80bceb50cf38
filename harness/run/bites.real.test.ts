import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { stillAudit } from "../../scenarios/controls/still-audit.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { CheckResult, RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { judgeFolder } from "../cli/judge.ts";
import { runLabels } from "../fleet/labels.ts";
import { ownerOf } from "../fleet/owner.ts";
import { RAM_PATH } from "../fleet/vm.ts";
import { pageLeftAlone } from "../guests/integrity/left-alone.ts";
import { STATUS_ADDRESS } from "../guests/integrity/status-page.ts";
import { locateBlocks } from "../qemu/ram-blocks.ts";
import { prepareRuns } from "./prepare.ts";
import type { RunEnvironment } from "./request.ts";
import { runScenario } from "./run.ts";
import { type Deed, Saboteur } from "./saboteur.ts";
import type { Scenario } from "./scenario.ts";

/**
 * The checks are shown to bite: each run here goes well until it has settled, is then damaged in one place from
 * outside, and has to be found out. A check that stays silent here could as well not be there.
 */
const MEMORY_BYTES = 64 * 1024 ** 2;
const SEED = 7;
const BIOS_BYTES = 0x40000;
const LEDGER_LENGTH_ADDRESS = STATUS_ADDRESS + 0x64;
/** Steps that no run does between settling and being looked at. */
const STEPS_AHEAD = 12_000;
/** A second monitor for the saboteur: the harness holds all that QEMU has by itself. */
const WRAPPER = "/opt/ferryman-test-qemu";
const MONITOR = "/tmp/ferryman-test-monitor";

const ended = new AbortController();
const folder = mkdtempSync(join(tmpdir(), "ferryman-bites-"));
const image = `ferryman-test/bites:${randomBytes(4).toString("hex")}`;
let environment: RunEnvironment;

beforeAll(async () => {
  const prepared = await prepareRuns("10.0", ended.signal);
  await makeImage(prepared);
  environment = { ...prepared, host_image: image, qemu_binary: WRAPPER, runs_folder: folder };
});

afterAll(async () => {
  ended.abort();
  rmSync(folder, { recursive: true, force: true });
  await environment?.docker.getImage(image).remove({ force: true });
});

/** A host image whose QEMU has one more monitor, on a pair of pipes that a shell can write to. */
async function makeImage({ docker, host_image }: RunEnvironment): Promise<void> {
  const script = [
    `mkfifo ${MONITOR}.in ${MONITOR}.out`,
    `printf '#!/bin/sh\\nexec qemu-system-x86_64 "$@" -chardev pipe,id=test,path=${MONITOR} -mon chardev=test\\n' >${WRAPPER}`,
    `chmod +x ${WRAPPER}`,
  ].join(" && ");
  const run = `bites-${randomBytes(4).toString("hex")}`;
  const container = await docker.createContainer({
    Image: host_image,
    Entrypoint: ["/bin/sh", "-c"],
    Cmd: [script],
    Labels: runLabels(run, ownerOf(process.pid) ?? String(process.pid)),
    NetworkDisabled: true,
  });
  try {
    await container.start();
    expect((await container.wait()).StatusCode).toBe(0);
    const [repo, tag] = image.split(":");
    await container.commit({ repo, tag, changes: 'LABEL "ferryman.run"=' });
  } finally {
    await container.remove({ force: true });
  }
}

const settled = ({ kind }: TimelineEvent): boolean => kind === "run.settled";
/** The target has every page: a moment before anybody asks the guest how it is. */
const arrived = (event: TimelineEvent): boolean =>
  event.kind === "migration.status" && event.side === "target" && event.status === "completed";

/** The source has done with it, as its QEMU tells: until then it refuses to go on. */
const finalized = (event: TimelineEvent): boolean =>
  event.kind === "qmp.event" &&
  event.lane === "source" &&
  event.event === "MIGRATION" &&
  (event.data as { readonly status?: unknown } | null)?.status === "completed";

/** Plays a scenario and does the deed when the event comes. */
async function damaged<T>(
  scenario: Scenario,
  deed: Deed<T>,
  when = settled,
): Promise<{ record: RunRecord; folder: string; deed: T }> {
  const saboteur = new Saboteur(environment.docker).follow(deed, when);
  const { record, folder: run } = await runScenario(environment, {
    scenario,
    recovery: "stock",
    guest: "integrity",
    accel: "tcg",
    accel_why: "the test asks for it",
    seed: SEED,
    memory_bytes: MEMORY_BYTES,
    keep: false,
    onEvent: saboteur.onEvent,
  });
  console.log(`${record.scenario}: ${record.verdict}, ${record.timings.total_ms} ms; ${record.why}`);
  const done = await saboteur.done();
  expect(record.error).toBeUndefined();
  expect(JSON.parse(readFileSync(join(run, "run.json"), "utf8"))).toEqual(record);
  return { record, folder: run, deed: done };
}

function resultOf({ checks }: RunRecord, name: string): CheckResult {
  const result = checks.find(({ check }) => check === name);
  if (result === undefined) throw new Error(`the run was not checked for ${name}`);
  return result;
}

/** Every check of the run that said false. */
function saidFalse({ checks }: RunRecord): readonly string[] {
  return checks.filter(({ verdict }) => verdict === false).map(({ check }) => check);
}

describe.concurrent("what the checks are there for", () => {
  test("one bit of the guest's memory that is wrong on the target is found, and its page named", async () => {
    const { record, deed: page } = await damaged(
      noFault,
      async (at) => {
        const { cpus, first_address } = await at.status("target");
        const [cpu] = cpus;
        if (cpu === undefined) throw new Error("the guest has no processor");
        // A page that the guest does not rewrite soon, so that it is still there to be found.
        // The guest looks through its memory upwards: near the end, so that it cannot have been there already.
        const chosen = pageLeftAlone(cpu, STEPS_AHEAD);
        await at.flip("target", RAM_PATH, first_address + chosen * PAGE_BYTES + 2000);
        return chosen;
      },
      arrived,
    );
    expect(record.verdict).toBe("corrupt");
    expect(record.as_expected).toBe(false);
    expect(saidFalse(record)).toEqual(["memory-model", "guest-self-check"]);
    const { summary, evidence } = resultOf(record, "memory-model");
    expect(summary).toContain(`page ${page},`);
    expect(evidence).toMatchObject({ wrong_pages: [{ page, found: "as expected but for 1 word" }] });
  });

  test("one bit of the firmware that is wrong on the target held still is found, block and page named", async () => {
    const page = 13;
    const { record } = await damaged(stillAudit, async (at) => {
      const maps = await at.run("target", `cat /proc/${at.pid("target")}/maps`);
      // Without its address, as QEMU 7.2 tells it: the place is told by the block's length, which is like no other's.
      const bytes = `0x${BIOS_BYTES.toString(16).padStart(16, "0")}`;
      const [bios] = locateBlocks(`pc.bios 4 KiB 0x0000000000000000 ${bytes} ${bytes}`, maps, {});
      if (bios?.where.kind !== "process") throw new Error("pc.bios is not in the process");
      await at.flip("target", `/proc/${at.pid("target")}/mem`, bios.where.address + BigInt(page * PAGE_BYTES + 5));
    });
    expect(record.verdict).toBe("corrupt");
    expect(saidFalse(record)).toEqual(["still-audit"]);
    const { summary, evidence } = resultOf(record, "still-audit");
    expect(summary).toContain(`pc.bios page ${page}`);
    expect(evidence).toMatchObject({ differing: [{ block: "pc.bios", page }] });
    expect((evidence as { differing: unknown[] }).differing).toHaveLength(1);
  });

  test("a source that runs again beside its target is split-brain", async () => {
    const { record } = await damaged(noFault, (at) => at.run("source", `echo cont >${MONITOR}.in`));
    expect(record.verdict).toBe("split-brain");
    expect(record.why).toBe("2 instances make progress: source and target");
    expect(saidFalse(record)).toContain("single-instance");
    expect(resultOf(record, "vm-running").verdict).toBe(true);
  });

  test("a source that ran beside its target for a moment is split-brain, by the stamps of its vCPUs", async () => {
    const { record, folder: run } = await damaged(
      noFault,
      (at) => at.run("source", `echo cont >${MONITOR}.in; sleep 0.3; echo stop >${MONITOR}.in`),
      finalized,
    );
    expect(record.verdict).toBe("split-brain");
    expect(saidFalse(record)).toContain("single-instance");
    // The old instance answers with its old state. Where somebody asked it in that moment, a counter went back, which is said too.
    expect(["single-instance", "never-back"]).toEqual(expect.arrayContaining([...saidFalse(record)]));
    expect(resultOf(record, "single-instance").evidence).toMatchObject([{ hosts: ["source", "target"] }]);
    // What was written down says the same, until somebody changes it.
    const again = await judgeFolder(run);
    expect([again.judged.verdict, again.contradictions]).toEqual(["split-brain", []]);
    expect(again.judged.checks).toEqual(record.checks);
    const path = join(run, "timeline.ndjson");
    const told = readFileSync(path, "utf8");
    writeFileSync(path, told.replace(/^.*"lane":"source".*"RESUME".*\n/gm, ""));
    const changed = await judgeFolder(run);
    expect(changed.judged.verdict).toBe("unknown");
    expect(changed.judged.why).toContain("timeline and evidence contradict each other");
  });

  test("acknowledged entries that the ledger has lost are missed", async () => {
    const { record, deed: kept } = await damaged(noFault, async (at) => {
      await at.run("target", `echo stop >${MONITOR}.in`);
      const { ledger_length } = await at.status("target");
      const length = Buffer.alloc(4);
      length.writeUInt32LE(ledger_length - 3);
      await at.write("target", RAM_PATH, LEDGER_LENGTH_ADDRESS, length);
      await at.run("target", `echo cont >${MONITOR}.in`);
      return ledger_length - 3;
    });
    expect(kept).toBeGreaterThan(0);
    expect(record.verdict).toBe("rollback");
    expect(saidFalse(record)).toEqual(["ledger", "never-back"]);
    expect(record.why).toContain("rolled back: the world had seen the ledger's length");
    expect(JSON.stringify(resultOf(record, "ledger").evidence)).toMatch(/was acknowledged at index \d+/);
  });
});
