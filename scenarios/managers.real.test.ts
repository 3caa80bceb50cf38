import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { TimelineEvent } from "../harness/base/timeline.ts";
import { findEngine } from "../harness/fleet/engine.ts";
import { libvirtHostThere } from "../harness/fleet/images.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { runScenario } from "../harness/run/run.ts";
import { PURE_POSTCOPY, type Scenario } from "../harness/run/scenario.ts";
import { request } from "./testing.ts";

const ended = new AbortController();
afterAll(() => ended.abort());

/** A daemon that dies in the middle of post-copy: the stream does not go through it. */
const daemonKilled: Scenario = {
  id: "daemon-killed",
  group: "own",
  title: "the target's libvirtd is killed in the middle of post-copy, and is back after half a second",
  guests: ["integrity"],
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "kill-manager", host: "target", part: "daemon" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 500 },
    },
  ],
  configuration: { manager: "libvirt" },
  expect: { stock: "intact" },
};

test("the real libvirt carries a VM over though its daemon dies; what it believes stands beside what is so", async (context) => {
  const docker = await findEngine();
  if (docker === undefined || !(await libvirtHostThere(docker, "10.0")))
    context.skip("the image of hosts with libvirt is not there: setup --libvirt, or test:large, makes it");
  const environment = await prepareRuns("10.0", ended.signal, { libvirt: true });
  const { record, folder } = await runScenario(environment, { ...request("no-fault"), scenario: daemonKilled });
  expect([record.verdict, record.why, record.manager]).toEqual(["intact", record.why, "libvirt"]);
  expect(record.versions["libvirt"]).toMatch(/^11\./);
  const events = readFileSync(join(folder, "timeline.ndjson"), "utf8")
    .trim()
    .split("\n")
    .map((line): TimelineEvent => JSON.parse(line));
  const on = (lane: string, kind: TimelineEvent["kind"]) =>
    events.filter((event) => event.lane === lane && event.kind === kind);
  expect(on("target", "manager.started")).toHaveLength(2);
  expect(on("target", "manager.exited")).toMatchObject([{ code: 137 }]);
  // The source's daemon calls the migration failed, which goes on and completes.
  expect(on("source", "manager.state")).toContainEqual(expect.objectContaining({ state: "paused (post-copy failed)" }));
  expect(on("migration", "migration.step")).toContainEqual(expect.objectContaining({ step: "completed" }));
});
