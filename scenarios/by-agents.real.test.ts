import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import { byAgents, playWithAgents, wrong } from "./testing.ts";

/** The agents copy memory ahead to the target and make the package themselves: the source's QEMU never migrates. */

const ended = new AbortController();
afterAll(() => ended.abort());

test("nothing is lost where nothing breaks, nor where a host does", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const ids = ["no-fault", "still-audit", "source-host-killed"];
  expect(wrong(await playWithAgents(environment, byAgents(ids)))).toEqual([]);
}, 900_000);

test("a fault may strike while memory goes ahead, or right after", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const ids = ["link-cut-for-good", "target-killed-before-switchover", "cut-during-handoff"];
  expect(wrong(await playWithAgents(environment, byAgents(ids, {}, { memory_ahead: true })))).toEqual([]);
}, 900_000);
