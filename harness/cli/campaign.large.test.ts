import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pause } from "../base/wait.ts";
import { prepareImages } from "../run/prepare.ts";
import { Random } from "../txsync/sim/random.ts";
import { Spawned } from "./spawned.ts";

/** A harness that is killed with SIGKILL, again and again, and what the next one makes of it. */

const KILLS = 20;
/** From before anything was started to after a run has ended. */
const KILLED_AFTER_MS = { least: 500, most: 25_000 };
const SEED = 20;
const MATRIX =
  "run --matrix --recovery stock --qemu 10.0 --accels tcg --memory 64 --jobs 1 --seed 7 --steps switchover,completing --faults kill-host-*,cut-reset-*,freeze-qemu-*,latency-*".split(
    " ",
  );

let docker: Docker;
let folder: string;
beforeAll(async () => {
  ({ docker } = await prepareImages("10.0"));
  folder = join(mkdtempSync(join(tmpdir(), "ferryman-killed-")), "matrix");
});
afterAll(() => rmSync(join(folder, ".."), { recursive: true, force: true }));

const begun = (): boolean => existsSync(join(folder, "campaign.json"));
const command = (): Spawned => new Spawned([...MATRIX, ...(begun() ? ["--resume", folder] : ["--folder", folder])]);
const whole = (): readonly string[] =>
  begun() ? readdirSync(folder).filter((name) => existsSync(join(folder, name, "run.json"))) : [];

test("killed at 20 random moments it goes on each time, loses at most the run under way, and leaves nothing", async () => {
  const random = new Random(SEED);
  let done = 0;
  for (let turn = 0; turn < KILLS; turn += 1) {
    const running = command();
    // The moment is what is tested: any may be the wrong one.
    await pause(random.int(KILLED_AFTER_MS.least, KILLED_AFTER_MS.most));
    running.kill("SIGKILL");
    await running.ended();
    expect(whole().length).toBeGreaterThanOrEqual(done - 1);
    done = whole().length;
  }
  const last = command();
  const { code, stdout } = await last.ended(1_200_000);
  expect(stdout).toMatch(/(\d+) of \1 run:/);
  expect([0, 1]).toContain(code);
  expect(await last.things(docker)).toEqual([]);
  const jobs = whole().map((name) => JSON.parse(readFileSync(join(folder, name, "run.json"), "utf8")).job as string);
  const planned = JSON.parse(readFileSync(join(folder, "campaign.json"), "utf8")).jobs as string[];
  expect([...new Set(jobs)].sort()).toEqual([...planned].sort());
  // Everything else in the folder is the suite's.
  const left = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(left).toHaveLength(whole().length);
});
