import { afterAll, expect, test } from "vitest";
import { prepareRuns } from "../harness/run/prepare.ts";
import type { RunRequest } from "../harness/run/request.ts";
import { SCENARIOS } from "./index.ts";
import { play, playWithAgents, request, withTxsync, wrong } from "./testing.ts";

/** A VM that is protected before it migrates (`--protect-before`), under faults that were made for one that is not. */

const ended = new AbortController();
afterAll(() => ended.abort());

const BEFORE = { protect_before: true, memory_ahead: true } as const;

test.each(["10.0", "7.2", "11.1"])(
  "nothing is lost where nothing breaks, a host, a QEMU, an agent or a link does, with QEMU %s",
  async (qemu) => {
    const environment = await prepareRuns(qemu, ended.signal);
    const ids = [
      ...["no-fault", "source-host-killed-before-switchover", "source-host-killed-while-ahead"],
      ...["target-host-killed", "target-qemu-killed", "target-killed-before-switchover", "link-cut-for-good"],
      ...["escrow-killed", "source-agent-restarted-at-switchover", "protected-source-host-killed-at-switchover"],
    ];
    expect(wrong(await playWithAgents(environment, withTxsync(ids, BEFORE)))).toEqual([]);
  },
  1_200_000,
);

test("scenarios that are too many for every `npm test` come out as they say", async () => {
  const environment = await prepareRuns("10.0", ended.signal);
  // Those with disks are in disks.large.test.ts.
  const large = SCENARIOS.filter(
    ({ tags = [], configuration }) => tags.includes("large") && configuration?.disks === undefined,
  );
  const txsync = large.map(({ id }) => request(id, { recovery: "txsync" }));
  expect(wrong(await playWithAgents(environment, txsync))).toEqual([]);
  const stock = large.filter(({ expect: expected }) => expected.stock !== undefined).map(({ id }) => request(id));
  expect(wrong(await play(environment, stock))).toEqual([]);
}, 900_000);

/** The escrow's copy of the base comes behind a guest that writes so much: it has to be there before. */
test.each([20_000, 100_000])(
  "a guest that writes %d pages a second is not lost with its source's host, wherever that is lost",
  async (write_rate_pages_per_s) => {
    const environment = await prepareRuns("10.0", ended.signal);
    const ids = ["source-host-killed", "source-host-killed-while-ahead", "protected-source-host-killed-at-switchover"];
    const requests = withTxsync(ids, { protect_before: true }, { memory_mib: 256 }).map(
      (each): RunRequest => ({ ...each, work: { write_rate_pages_per_s } }),
    );
    expect(wrong(await playWithAgents(environment, requests))).toEqual([]);
  },
  900_000,
);
