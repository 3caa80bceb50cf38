import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { RunRequest } from "../harness/run/request.ts";
import { SOURCE_HOST_CELLS } from "./testing/source-host-cells.ts";
import { playWithAgents, request, wrong } from "./testing.ts";

/** Each moment, at sizes and write rates of users. */

const ended = new AbortController();
afterAll(() => ended.abort());

test.each([
  [256, 1_000],
  [256, 20_000],
  [256, 100_000],
  [1_024, 1_000],
  [1_024, 20_000],
  [1_024, 100_000],
])(
  "a protected VM of %d MiB that writes %d pages a second outlives its source's host at every step",
  async (memory_mib, write_rate_pages_per_s) => {
    const environment = await prepareRuns("10.0", ended.signal);
    const requests = SOURCE_HOST_CELLS.map((scenario): RunRequest => {
      return {
        ...request("no-fault", { recovery: "txsync", memory_mib }),
        scenario,
        work: { write_rate_pages_per_s },
      };
    });
    expect(wrong(await playWithAgents(environment, requests))).toEqual([]);
  },
  1_800_000,
);
