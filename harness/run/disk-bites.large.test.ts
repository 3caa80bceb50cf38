import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { RunRecord } from "../base/run-record.ts";
import { STORAGE } from "../base/timeline.ts";
import { pageName, RAW_SLOTS } from "../guests/linux/disk-records.ts";
import { patternPage } from "../guests/linux/pattern.ts";
import { prepareRuns } from "./prepare.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import { runScenario } from "./run.ts";
import { Saboteur } from "./saboteur.ts";

/** The check of the disks is shown to bite. */

const SEED = 11;
const IMAGE = "/dev/shm/disks/disk0";
const REQUEST: Omit<RunRequest, "scenario" | "recovery"> = {
  guest: "linux",
  accel: "tcg",
  accel_why: "the test asks for it",
  seed: SEED,
  memory_bytes: 256 * 1024 ** 2,
  configuration: { disks: ["raw"] },
  keep: false,
};

const ended = new AbortController();
const folder = mkdtempSync(join(tmpdir(), "ferryman-disk-bites-"));
let environment: RunEnvironment;

beforeAll(async () => {
  environment = { ...(await prepareRuns("10.0", ended.signal, { storage: true })), runs_folder: folder };
}, 600_000);

afterAll(() => {
  ended.abort();
  rmSync(folder, { recursive: true, force: true });
});

function saidFalse({ checks }: RunRecord): readonly string[] {
  return checks.filter(({ verdict }) => verdict === false).map(({ check }) => check);
}

test("a block that was put back to an older version is found", async () => {
  const saboteur = new Saboteur(environment.docker).follow(
    async (at) => {
      const ring = await at.read(STORAGE, IMAGE, 0, RAW_SLOTS * PAGE_BYTES);
      const versions = Array.from({ length: RAW_SLOTS }, (_, slot) => ring.readUInt32LE(slot * PAGE_BYTES + 8));
      // Not the last one, which the guest reads at once; one that it comes to when it has written all others.
      const version = Math.max(...versions) - 20;
      const slot = (version - 1) % RAW_SLOTS;
      await at.write(STORAGE, IMAGE, slot * PAGE_BYTES, patternPage(SEED, pageName(0, slot), version - RAW_SLOTS));
      return version;
    },
    ({ kind }) => kind === "run.settled",
  );
  const run = { ...REQUEST, scenario: noFault, recovery: "stock" as const, onEvent: saboteur.onEvent };
  const { record } = await runScenario(environment, run);
  const version = await saboteur.done();
  expect(version).toBeGreaterThan(RAW_SLOTS);
  expect(record.verdict).toBe("corrupt");
  expect(saidFalse(record)).toContain("disk-history");
}, 120_000);
