import { describe, expect, it } from "vitest";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import { runCheck } from "../../checks/check.ts";
import { clientHistory } from "../../checks/client-history.ts";
import { got, makeCase } from "../../checks/testing/make-case.ts";
import { ClientRunner } from "./client-runner.ts";
import type { HistoryClient, Operation } from "./history-client.ts";

/** The operation in which the client of the first test waits. */
const LAST = 6;

const reach = {
  from: "target",
  dial: async () => {
    throw new Error("nobody is there");
  },
} as const;

describe("a client of the user's", () => {
  it("does one operation after the other, and its history has those of which nobody knows", async () => {
    const from: HostRole[] = [];
    const last = Promise.withResolvers<void>();
    let begun = 0;
    let looked: readonly Operation[] = [];
    const client: HistoryClient = {
      name: "mine",
      start: (_, { seed }) => ({
        invoke: async (n) => {
          begun = n;
          if (n === LAST) await last.promise;
          if (n === 1 || n === 3) throw new Error("refused");
          return seed + n;
        },
        check: async (history) => {
          looked = history;
          return { whole: true, summary: "all is there" };
        },
      }),
    };
    using runner = ClientRunner.start(client, reach, { seed: 100 }, (host) => void from.push(host));
    await waitFor({ what: "operations", timeout_ms: 5_000 }, () => (runner.acknowledged >= 3 ? true : undefined));
    await waitFor({ what: "the last one", timeout_ms: 5_000 }, () => (begun === LAST ? true : undefined));
    // What is under way when it is stopped may end, and nothing is begun behind it.
    const stopped = runner.stop(true);
    last.resolve();
    await stopped;
    const found = await runner.look();
    expect(looked.slice(0, 3).map(({ n, outcome, value, why }) => [n, outcome, value ?? why])).toEqual([
      [1, "unknown", "refused"],
      [2, "acknowledged", 102],
      [3, "unknown", "refused"],
    ]);
    // What failed before the first that did not is no part of what it was told.
    expect(found).toMatchObject({ name: "mine", whole: true, unknown: 1, acknowledged: from.length });
    expect([begun, runner.acknowledged]).toEqual([LAST, LAST - 2]);
  });

  it.each([
    ["keeps what it acknowledged", () => false, true],
    ["forgets one of those", (n: number) => n === 3, false],
  ] as const)("of a VM that %s: the check says so", async (_, forgets, whole) => {
    const kept = new Set<number>();
    const client: HistoryClient = {
      name: "mine",
      start: () => ({
        invoke: async (n) => {
          if (!forgets(n)) kept.add(n);
          return n;
        },
        check: async (history) => {
          const lost = history.filter(({ n, outcome }) => outcome === "acknowledged" && !kept.has(n));
          return { whole: lost.length === 0, summary: `${lost.length} lost` };
        },
      }),
    };
    using runner = ClientRunner.start(client, reach, { seed: 1 }, () => undefined);
    await waitFor({ what: "operations", timeout_ms: 5_000 }, () => (runner.acknowledged >= 5 ? true : undefined));
    await runner.stop(true);
    const evidence = { guest: { kind: "custom", can: ["client"] } } as const;
    const judged = runCheck(clientHistory, makeCase({ evidence, findings: { client: got(await runner.look()) } }));
    expect(judged?.verdict).toBe(whole);
  });

  it("that hangs in its last operation is stopped all the same where nobody could answer", async () => {
    const client: HistoryClient = {
      name: "mine",
      start: () => ({
        invoke: () => new Promise(() => undefined),
        check: async () => ({ whole: false, summary: "no" }),
      }),
    };
    using runner = ClientRunner.start(client, reach, { seed: 1 }, () => undefined);
    await runner.stop(false);
    expect(await runner.look()).toMatchObject({ whole: false, acknowledged: 0, unknown: 0 });
  });
});
