import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import { playWithAgents, request, wrong } from "./testing.ts";

/** QEMU's own migration can be protected too (`--switchover-by qemu`): the source's QEMU migrates, into its agent's hands. */

const ended = new AbortController();
afterAll(() => ended.abort());

test("nothing is lost where nothing breaks, nor where a host does", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  const requests = ["no-fault", "still-audit", "source-host-killed"].map((id) => ({
    ...request(id, { recovery: "txsync" }),
    txsync: { switchover_by: "qemu" as const },
  }));
  expect(wrong(await playWithAgents(environment, requests))).toEqual([]);
}, 900_000);
