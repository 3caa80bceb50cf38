import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { targetHostKilled } from "../../scenarios/target/target-host-killed.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { RunRecord } from "../base/run-record.ts";
import { STORAGE } from "../base/timeline.ts";
import { AGENT_FILES } from "../fleet/agent-files.ts";
import { runLabels } from "../fleet/labels.ts";
import { ownerOf } from "../fleet/owner.ts";
import { pageName, RAW_SLOTS } from "../guests/linux/disk-records.ts";
import { patternPage } from "../guests/linux/pattern.ts";
import { prepareRuns } from "./prepare.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import { runScenario } from "./run.ts";
import { Saboteur } from "./saboteur.ts";

/** The check of the disks is shown to bite: on a disk that is damaged, and on agents that let through what they must not. */

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
  environment = { ...(await prepareRuns("10.0", ended.signal, { storage: true, images: true })), runs_folder: folder };
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
      const older = version - RAW_SLOTS;
      const page = older > 0 ? patternPage(SEED, pageName(0, slot), older) : Buffer.alloc(PAGE_BYTES);
      await at.write(STORAGE, IMAGE, slot * PAGE_BYTES, page);
      return version;
    },
    ({ kind }) => kind === "run.settled",
  );
  const run = { ...REQUEST, scenario: noFault, recovery: "stock" as const, onEvent: saboteur.onEvent };
  const { record } = await runScenario(environment, run);
  const version = await saboteur.done();
  expect(version).toBeGreaterThan(0);
  expect(record.verdict).toBe("corrupt");
  expect(saidFalse(record)).toContain("disk-history");
}, 120_000);

test("a qcow2 in which a table is damaged is found", async () => {
  const saboteur = new Saboteur(environment.docker).follow(
    async (at) => {
      // The entry of the first cluster in the L1 table (QEMU: docs/interop/qcow2.rst), which QEMU has read and does not write again.
      const l1_at = (await at.read(STORAGE, IMAGE, 40, 8)).readBigUInt64BE();
      await at.flip(STORAGE, IMAGE, l1_at + 6n);
      return l1_at;
    },
    ({ kind }) => kind === "run.settled",
  );
  const configuration = { disks: [{ kind: "raw", format: "qcow2" }] } as const;
  const run = { ...REQUEST, configuration, scenario: noFault, recovery: "stock" as const, onEvent: saboteur.onEvent };
  const { record } = await runScenario(environment, run);
  expect(await saboteur.done()).toBeGreaterThan(0n);
  expect(record.verdict).toBe("corrupt");
  const said = record.checks.find(({ check }) => check === "disk-history");
  expect(said).toMatchObject({ verdict: false });
  expect(said?.summary).toContain("disk 0 (raw in qcow2): the image is damaged");
}, 120_000);

test("agents that let an uncommitted write through are found when the VM is made again", async () => {
  const image = `ferryman-test/disk-bites:${randomBytes(4).toString("hex")}`;
  const { docker, host_image } = environment;
  // One place in the program, whatever its bundler calls things there: a write that is kept goes to the image as well.
  const file = AGENT_FILES.program;
  const script = String.raw`
    put=$(sed -nE 's/.*return await this\.#directly\((put[0-9]*)\(\)\);.*/\1/p' ${file})
    test -n "$put" && test "$(grep -cE 'return keep[0-9]*\(\);' ${file})" = 1 &&
      sed -i -E "s/return (keep[0-9]*)\(\);/{ \1(); return await $put(); }/" ${file} && grep -q "return await $put(); }" ${file}`;
  const container = await docker.createContainer({
    Image: host_image,
    Entrypoint: ["/bin/sh", "-c"],
    Cmd: [script],
    Labels: runLabels(`disk-bites-${randomBytes(4).toString("hex")}`, ownerOf(process.pid) ?? String(process.pid)),
    NetworkDisabled: true,
  });
  try {
    await container.start();
    expect((await container.wait()).StatusCode).toBe(0);
    const [repo, tag] = image.split(":");
    await container.commit({ repo, tag, changes: 'LABEL "ferryman.run"=' });
    // Late, when the guest has the pages that its disk's worker needs, and with time enough between two transactions.
    const [kill] = targetHostKilled.faults;
    if (kill === undefined) throw new Error("the scenario has no fault");
    const scenario = { ...targetHostKilled, faults: [{ ...kill, at: { on: "pages" as const, percent: 85 } }] };
    const run = { ...REQUEST, scenario, recovery: "txsync" as const, txsync: { epoch_ms: 1_000 } };
    const { record } = await runScenario({ ...environment, host_image: image }, run);
    expect(record.error).toBeUndefined();
    expect(record.verdict).toBe("corrupt");
    expect(saidFalse(record)).toContain("disk-history");
  } finally {
    await container.remove({ force: true });
    await docker
      .getImage(image)
      .remove({ force: true })
      .catch(() => undefined);
  }
}, 180_000);
