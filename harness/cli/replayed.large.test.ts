import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { Spawned } from "./spawned.ts";

/**
 * Ten schedules that fail, each played ten times more from the record of a run that failed: how often it fails again, and in
 * the same way. Their triggers are steps and counts, so that a replay meets the same moment. One of them alone, in two or
 * three minutes: `npx vitest run --config .vitest.config.ts --project large harness/cli/replayed.large.test.ts -t <name>`.
 */
const FAILING: readonly (readonly [string, string])[] = [
  ["source-qemu-killed", "stock"],
  ["source-host-killed-too-early", "txsync"],
  ["source-killed-before-switchover", "txsync"],
  ["target-qemu-killed", "stock"],
  ["target-killed-at-switchover", "stock"],
  ["target-refuses-state", "stock"],
  ["link-cut-for-good", "stock"],
  ["link-cut-one-way", "stock"],
  ["release-ram-recovery", "stock"],
  ["source-cut-off", "stock"],
];

const AGAIN = 10;
/**
 * A link that is silent takes 32 MiB a connection before its sender waits (toxics/latency.go has room for 1,024 pieces):
 * whether QEMU comes to have sent everything must not hang on that, for then a pause makes it give up (`pause-when-all-is-sent`).
 */
const GUEST = ["--qemu", "10.0", "--accel", "tcg", "--memory", "128"];
/** What is aimed at is 95 of all 100; of ten one may come out otherwise. */
const ALIKE = 9;
const MS_MAX = 600_000;

test.each(FAILING)("%s (%s) fails again as it did", { timeout: 2 * MS_MAX }, async (scenario, recovery) => {
  const words = ["--recovery", recovery, ...GUEST, "--expect", "intact"];
  const failed = await new Spawned(["run", scenario, ...words]).ended(MS_MAX);
  expect(failed.code, `${failed.stdout}\n${failed.stderr}`).toBe(1);
  const [, page = ""] = /^report: (.*)$/m.exec(failed.stdout) ?? [];
  const runs = dirname(page);
  const [run = ""] = readdirSync(runs).filter((name) => existsSync(join(runs, name, "run.json")));
  const { stdout } = await new Spawned(["replay", join(runs, run), "--repeat", `${AGAIN}`, "--jobs", "2"]).ended(
    MS_MAX,
  );
  const [said = "", alike = ""] = /(\d+) of 10 came out as it was: .*, not as expected/.exec(stdout) ?? [];
  console.log(`${scenario}: ${said}`);
  expect(Number(alike), stdout).toBeGreaterThanOrEqual(ALIKE);
});
