import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Spawned } from "./spawned.ts";

/** The smallest matrix there is, from the command that begins it to the suite of its parts. */

const root = mkdtempSync(join(tmpdir(), "ferryman-matrix-"));
const folder = join(root, "part");
afterAll(() => rmSync(root, { recursive: true, force: true }));

const MATRIX =
  "run --matrix --recovery stock --accel tcg --qemu 10.0 --memory 64 --seed 7 --jobs 1 --shard none --steps switchover --faults latency-*".split(
    " ",
  );

test("a matrix is run, gone on with, replayed, and put together", async () => {
  const begun = await new Spawned([...MATRIX, "--folder", folder]).ended();
  expect([begun.code, begun.stdout]).toEqual([0, expect.stringContaining("1 of 1 run: 1 intact")]);
  expect(begun.stderr).toMatch(/1 runs, 1 at a time: about \d+ s/);
  const [run = ""] = readdirSync(folder).filter((name) => existsSync(join(folder, name, "run.json")));

  const resumed = await new Spawned([...MATRIX, "--resume", folder]).ended();
  expect([resumed.code, resumed.stderr]).toEqual([0, expect.stringContaining("1 of 1 are done already")]);

  const replayed = await new Spawned(["replay", join(folder, run)]).ended();
  expect([replayed.code, replayed.stdout]).toEqual([0, expect.stringContaining("1 of 1 came out as it was: intact")]);
  expect(replayed.stderr).toContain("are what they were");

  const merged = await new Spawned(["report", "merge", root, "--into", join(root, "suite")]).ended();
  expect([merged.code, merged.stderr]).toEqual([0, expect.stringContaining("1 runs of 1 parts, 0 not as expected")]);
  expect(existsSync(join(root, "suite", "junit.xml"))).toBe(true);
});

test("what is no campaign is not gone on with, and what is said of parts has to make sense", async () => {
  const [none, half, other] = await Promise.all([
    new Spawned([...MATRIX, "--resume", "/nonexistent"]).ended(),
    new Spawned(["explore", "--seeds", "1", "--shard", "3/2"]).ended(),
    new Spawned(["run", "no-fault", "--resume", folder]).ended(),
  ]);
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("is no campaign")]);
  expect([half.code, half.stderr]).toEqual([2, expect.stringContaining('it is "3/2"')]);
  expect([other.code, other.stderr]).toEqual([2, expect.stringContaining("--resume is for run --matrix")]);
});
