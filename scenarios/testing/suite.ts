import { afterAll, beforeAll, describe, test } from "vitest";
import { type Ferryman, type Recovery, type Scenario, startFerryman } from "../../harness/index.ts";
import "../../harness/library/vitest.ts";
import { RUNS_FOLDER } from "../../harness/run/prepare.ts";
import { EVERY_TIME, halved } from "../testing.ts";

/** Our own suite, written with what others import: every scenario is a vitest test of its own. */

const SEED = 7;
/** The groups in which a host, or nothing, fails; the others are in another file, so that `--shard` has something to part. */
const HOSTS: readonly string[] = ["controls", "source", "target"];

/**
 * Under stock recovery each of these ends as another scenario does, for the same reason: source-host-killed,
 * target-host-killed, link-cut-healed or link-cut-for-good. `npm run test:large` plays them.
 */
const STOCK_TWINS: readonly string[] = [
  "source-qemu-killed",
  "source-host-killed-too-early",
  "target-qemu-killed",
  "target-host-killed-connected",
  "link-cut-twice-healed",
  "source-cut-off",
  "link-cut-one-way",
];

export function isStockTwin({ id }: Scenario): boolean {
  return STOCK_TWINS.includes(id);
}

export function hostsFail({ group }: Scenario): boolean {
  return HOSTS.includes(group);
}

/**
 * Declares a test for each of those scenarios that can happen under the recovery. They are named by their ids (`-t`), two
 * of them go on side by side, and none is tried again: what proves nothing fails. Under agents VMs are carried one after
 * the other all the same: leases must not run out for want of a processor.
 */
export function everyScenario(recovery: Recovery, wanted: (scenario: Scenario) => boolean = () => true): void {
  let ferryman: Ferryman | undefined;
  beforeAll(async () => {
    ferryman = await startFerryman({
      qemu: "10.0",
      accel: "tcg",
      runs: RUNS_FOLDER,
      one_at_a_time: recovery === "txsync",
    });
  });
  afterAll(async () => await ferryman?.[Symbol.asyncDispose]());

  // Under stock, those with disks are for disks.large.test.ts.
  const able = EVERY_TIME.filter(
    (scenario) =>
      scenario.expect[recovery] !== undefined &&
      wanted(scenario) &&
      (recovery === "txsync" || scenario.configuration?.disks === undefined),
  );
  describe.concurrent(`under ${recovery}`, () => {
    test.for(able)("$id", async (scenario, { expect }) => {
      const { scenario: asked, memory_mib } = halved(scenario);
      const run = await ferryman?.run(asked, { recovery, memory_mib, seed: SEED });
      const { verdict, why, timings, tries = 1 } = run?.record ?? {};
      const again = tries > 1 ? `, asked to migrate ${tries} times` : "";
      console.log(`${scenario.id} ${recovery}: ${verdict}, ${timings?.total_ms} ms${again}; ${why}`);
      expect(run).toBeAsExpected();
    });
  });
}
