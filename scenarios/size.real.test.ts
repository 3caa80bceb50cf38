import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import { playWithAgents, request, wrong } from "./testing.ts";

/** A slice of what is run at other sizes than 128 MiB; the larger ones are in size.large.test.ts. */
const ended = new AbortController();
afterAll(() => ended.abort());

test("source or target may fail with a guest of 1 GiB", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const requests = ["source-host-killed", "target-host-killed"].map((id) =>
    request(id, { recovery: "txsync", memory_mib: 1024 }),
  );
  expect(wrong(await playWithAgents(environment, requests))).toEqual([]);
}, 600_000);
