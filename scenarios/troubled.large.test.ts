import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import { play, request, wrong } from "./testing.ts";

/** Storage that fails, a disk that is full, clocks that step, a reset that one end alone is told of. */

const ended = new AbortController();
afterAll(() => ended.abort());

test("under txsync each of them is what it says", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const ids = ["escrow-storage-fails", "source-disk-full", "clocks-step", "link-reset-tells-one"];
  const requests = ids.map((id) => request(id, { recovery: "txsync" }));
  expect(wrong(await play(environment, requests, 1))).toEqual([]);
}, 600_000);
