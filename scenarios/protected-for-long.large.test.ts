import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { RunRequest } from "../harness/run/request.ts";
import { protectedForLong } from "./source/protected-for-long.ts";
import { playWithAgents, request, wrong } from "./testing.ts";

/** Half an hour of a guest that writes 78 MiB a second: some 137 GiB, of which the log has each page once or twice. */

const SOAK_MS = 30 * 60_000;
const ended = new AbortController();
afterAll(() => ended.abort());

test("log and memory stay bounded however long a VM is protected", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const [fault] = protectedForLong.faults;
  if (fault?.at?.on !== "step") throw new Error("it waits for another thing than a step");
  const scenario = { ...protectedForLong, faults: [{ ...fault, at: { ...fault.at, after_ms: SOAK_MS } }] };
  const soak: RunRequest = { ...request(protectedForLong.id, { recovery: "txsync" }), scenario };
  expect(wrong(await playWithAgents(environment, [soak]))).toEqual([]);
}, 3_600_000);
