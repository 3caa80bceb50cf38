import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WaitTimeoutError } from "../../base/errors.ts";
import type { QmpEvent } from "../../qemu/qmp.ts";
import { generation, transactionNumber } from "../core/index.ts";
import { PausedError } from "./stopping.ts";
import { isStoppable, standStill, type TakeOptions, type TransactionMonitor, takeTransaction } from "./take.ts";

let folder: string;
let said: string[];
const listeners = new Set<(event: QmpEvent) => void>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-take-"));
  said = [];
  status = "running";
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Of the VM behind the monitor, as QEMU has it. */
let status: string;
let at_ms: number;

/** Somebody stops the VM, or lets it run: that is told where it is new. */
function lets(runs: boolean): void {
  if (runs === (status === "running")) return;
  status = runs ? "running" : "paused";
  const event = { name: "", data: {}, at_ms, kind: runs ? "resume" : "stop" } as const;
  for (const listener of [...listeners]) listener(event);
}

/** A monitor that notes what it was told. `answers` fail or delay a command. */
function monitor(answers: Record<string, () => Promise<unknown>> = {}): TransactionMonitor {
  const execute = async (command: string, args?: { filename?: string }): Promise<unknown> => {
    at_ms = said.push(command);
    if (command === "xen-save-devices-state" && args?.filename) writeFileSync(args.filename, "state");
    const answer = (await answers[command]?.()) ?? {};
    if (command === "stop" || command === "cont") lets(command === "cont");
    return command === "query-status" ? { running: status === "running", status } : answer;
  };
  const on = (listener: (event: QmpEvent) => void) => {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  return { execute: execute as TransactionMonitor["execute"], on };
}

function options(changes: Partial<TakeOptions>): TakeOptions {
  return {
    qmp: monitor(),
    tracker: {
      take: async () => {
        said.push("take");
        return { mode: "quick", pages: 1, found_pages: 1, find_ms: 1, copy_ms: 1 };
      },
      collect: async () => {
        said.push("collect");
        const paths = { content_path: "spool", entries_path: "spool.pages" };
        return {
          spool: { ...paths, pages: 1, full_pages: 0, blocks: ["ram0"] },
          zero_pages: 1,
          modified_pages: 1,
          digest: { lane1: 1, lane2: 2 },
        };
      },
      release: async () => {
        said.push("release");
      },
    },
    generation: generation(1),
    n: transactionNumber(1),
    since: "base",
    status: () => "postcopy-active",
    state_path: join(folder, "state"),
    ...changes,
  };
}

test("the guest is stopped for device state, finding and copying, and for nothing else", async () => {
  const taken = await takeTransaction(options({ onResumed: () => void said.push("resumed") }));
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "query-status", "cont", "resumed", "collect"]);
  expect(taken).toMatchObject({ kind: "taken", transaction: { n: 1, generation: 1, mode: "quick" } });
  if (taken.kind === "taken") expect(taken.transaction.device_state.toString()).toBe("state");
  expect(existsSync(join(folder, "state"))).toBe(false);
  // By the stamps of its events, which this monitor numbers: stop is the first command, cont comes after save and take.
  expect(taken).toMatchObject({ transaction: { timings: { still_ms: 3 } } });
  expect(listeners.size).toBe(0);
});

test("a guest that stood still before is left as it stood, whatever comes", async () => {
  status = "paused";
  await takeTransaction(options({ stood: true, onResumed: () => void said.push("resumed") }));
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "query-status", "collect"]);
  said = [];
  const broken = monitor({ "xen-save-devices-state": () => Promise.reject(new Error("no space")) });
  await expect(takeTransaction(options({ qmp: broken, stood: true, stays: true }))).rejects.toThrow("no space");
  expect(said).not.toContain("cont");
  said = [];
  const hangs = monitor({ stop: () => Promise.reject(new WaitTimeoutError("stop", 5)) });
  expect(await takeTransaction(options({ qmp: hangs, stood: true }))).toMatchObject({ kind: "stop-hung" });
  expect(said).toEqual(["stop", "xen-save-devices-state", "query-status"]);
});

test.each(["paused", "debug", "guest-panicked"])(
  "a guest that somebody else has paused (%s) is taken as it stands, and stays so",
  async (paused) => {
    status = paused;
    const changes = { ran: true, hold_ms: 1_000, onResumed: () => void said.push("resumed") };
    const onLeft = vi.fn();
    const taken = await takeTransaction(options({ ...changes, onLeft }));
    expect(said).toEqual(["query-status", "stop", "xen-save-devices-state", "take", "query-status", "collect"]);
    expect(taken).toMatchObject({ kind: "taken", stood: paused });
    if (taken.kind === "taken") expect(taken.transaction.timings.held_ms).toBeUndefined();
    const broken = monitor({ "xen-save-devices-state": () => Promise.reject(new Error("no space")) });
    await expect(takeTransaction(options({ ...changes, qmp: broken, onLeft }))).rejects.toThrow("no space");
    const hangs = monitor({ stop: () => Promise.reject(new WaitTimeoutError("stop", 5)) });
    const hung = await takeTransaction(options({ ...changes, qmp: hangs, onLeft }));
    if (hung.kind === "stop-hung") await hung.released;
    expect(hung.kind).toBe("stop-hung");
    expect(said).not.toContain("cont");
    expect([status, onLeft.mock.calls.length, listeners.size]).toEqual([paused, 3, 0]);
  },
);

test("one that somebody else has paused does not leave, and stays as it stood", async () => {
  status = "paused";
  await expect(takeTransaction(options({ ran: true, stays: true }))).rejects.toThrow(PausedError);
  await expect(standStill({ qmp: monitor(), state_path: join(folder, "state"), stop_timeout_ms: 5 })).rejects.toThrow(
    PausedError,
  );
  expect([said.includes("take"), said.includes("cont"), status, listeners.size]).toEqual([false, false, "paused", 0]);
});

test.each(["running", "suspended", "io-error"])(
  "one that runs, sleeps or waits for its disk (%s) goes on",
  async (is) => {
    status = is;
    const taken = await takeTransaction(options({ ran: true }));
    expect(said).toContain("cont");
    expect(taken).not.toHaveProperty("stood");
  },
);

test("one that may stand for an earlier transaction is not asked for, and runs again", async () => {
  status = "paused";
  await takeTransaction(options({}));
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "query-status", "cont", "collect"]);
});

describe("somebody else, who has a monitor too,", () => {
  /** When this command of ours is QEMU's next, and those before it are answered. */
  const during = (command: string, does: () => void): TransactionMonitor =>
    monitor({ [command]: () => new Promise((answer) => setImmediate(() => answer(does()))) });

  test("lets a paused VM run between our question and our stop: it runs on, and the next one is taken", async () => {
    status = "paused";
    const qmp = during("stop", () => lets(true));
    await expect(takeTransaction(options({ qmp, ran: true }))).rejects.toThrow("in the middle");
    expect(status).toBe("running");
    expect(await takeTransaction(options({ ran: true }))).toMatchObject({ kind: "taken" });
    expect(status).toBe("running");
  });

  test.each([
    ["while its device state is saved", "xen-save-devices-state"],
    ["while its pages are found", "take"],
  ])("lets it run %s: that is no transaction, whoever had stopped it", async (_, when) => {
    for (const changes of [
      { ran: true },
      { ran: true, paused: true },
      { stays: true },
      { stood: true, paused: true },
    ]) {
      status = "paused" in changes ? "paused" : "running";
      const { tracker, ...rest } = options(changes);
      const take: typeof tracker.take = (...asked) => {
        if (when === "take") lets(true);
        return tracker.take(...asked);
      };
      const qmp = when === "take" ? monitor() : during(when, () => lets(true));
      await expect(takeTransaction({ ...rest, qmp, tracker: { ...tracker, take } })).rejects.toThrow("in the middle");
      expect([changes, status, listeners.size]).toEqual([changes, "running", 0]);
    }
  });

  test("lets it run and stops it again while it is taken: that is none either", async () => {
    const { tracker, ...rest } = options({ ran: true });
    const take: typeof tracker.take = (...asked) => {
      lets(true);
      lets(false);
      return tracker.take(...asked);
    };
    await expect(takeTransaction({ ...rest, tracker: { ...tracker, take } })).rejects.toThrow("in the middle");
  });

  test("has stopped it a moment ago, and we hear of that only now: it stays so", async () => {
    status = "paused";
    const late = { name: "STOP", data: {}, at_ms: 0, kind: "stop" } as const;
    const qmp = during("stop", () => {
      for (const listener of [...listeners]) listener(late);
    });
    expect(await takeTransaction(options({ qmp, ran: true }))).toMatchObject({ kind: "taken", stood: "paused" });
    expect(said).not.toContain("cont");
  });

  test("resets it while it stands: that is no transaction", async () => {
    const reset = {
      name: "RESET",
      data: {},
      at_ms: 0,
      kind: "reset",
      guest: false,
      reason: "host-qmp-system-reset",
    } as const;
    const qmp = during("xen-save-devices-state", () => {
      for (const listener of [...listeners]) listener(reset);
    });
    await expect(takeTransaction(options({ qmp, ran: true }))).rejects.toThrow("was reset");
    expect(status).toBe("running");
  });

  test("has QEMU hang with a stop of its own: what it had paused when that is over stays so", async () => {
    const hanging = Promise.withResolvers<void>();
    const qmp = monitor({
      "query-status": () => hanging.promise,
      stop: () => Promise.reject(new WaitTimeoutError("stop", 5)),
    });
    const taken = await takeTransaction(options({ qmp, ran: true }));
    expect([taken.kind, said]).toEqual(["stop-hung", ["query-status", "stop", "xen-save-devices-state"]]);
    lets(false);
    hanging.resolve();
    if (taken.kind === "stop-hung") await taken.released;
    expect([said.includes("cont"), status, listeners.size]).toEqual([false, "paused", 0]);
  });
});

test("a stop that hangs of a guest that ran has it let run behind it", async () => {
  const onLeft = vi.fn();
  const qmp = monitor({ stop: () => Promise.reject(new WaitTimeoutError("stop", 5)) });
  const hung = await takeTransaction(options({ qmp, ran: true, onLeft }));
  if (hung.kind === "stop-hung") await hung.released;
  expect([said.at(-1), onLeft.mock.calls.length]).toEqual(["cont", 1]);
});

test("one that is to leave stands still, and whoever lets it run before its QEMU is frozen is heard", async () => {
  const asks = { qmp: monitor(), state_path: join(folder, "state"), stop_timeout_ms: 5 };
  {
    using still = await standStill(asks);
    await still.leaveFrozen();
    expect([said, status]).toEqual([["query-status", "stop", "xen-save-devices-state"], "paused"]);
  }
  status = "running";
  {
    using still = await standStill(asks);
    setImmediate(() => lets(true));
    await expect(still.leaveFrozen()).rejects.toThrow("in the middle");
  }
  expect(listeners.size).toBe(0);
});

test("how long the guest was only held back is told apart", async () => {
  const told = async (hold_ms: number): Promise<number | undefined> => {
    const taken = await takeTransaction(options({ hold_ms }));
    return taken.kind === "taken" ? taken.transaction.timings.held_ms : undefined;
  };
  expect([await told(0), await told(2)]).toEqual([undefined, 2]);
});

test("nothing is sent to a target that is paused, or not there yet", async () => {
  for (const status of ["postcopy-paused", "postcopy-recover", "setup", "active", "none", ""]) {
    expect(isStoppable(status)).toBe(false);
    expect(await takeTransaction(options({ status: () => status }))).toEqual({ kind: "refused", status });
  }
  expect(said).toEqual([]);
});

test("whatever fails while the guest is stopped, it runs again", async () => {
  const broken = monitor({ "xen-save-devices-state": () => Promise.reject(new Error("no space")) });
  await expect(takeTransaction(options({ qmp: broken }))).rejects.toThrow("no space");
  expect(said).toEqual(["stop", "xen-save-devices-state", "cont", "release"]);
  said = [];
  const tracker = { ...options({}).tracker, take: () => Promise.reject(new Error("pagescan died")) };
  await expect(takeTransaction(options({ tracker }))).rejects.toThrow("pagescan died");
  expect(said.slice(-2)).toEqual(["cont", "release"]);
  said = [];
  const blind = () => {
    throw new Error("no output");
  };
  await expect(takeTransaction(options({ onStill: blind }))).rejects.toThrow("no output");
  // Not before the copy is whole.
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "cont", "release"]);
});

test("a stop that hangs leaves a cont behind it", async () => {
  const release = Promise.withResolvers<void>();
  const hanging = monitor({
    stop: () => Promise.reject(new WaitTimeoutError("stop", 5)),
    cont: () => release.promise,
  });
  const taken = await takeTransaction(options({ qmp: hanging, stop_timeout_ms: 5 }));
  expect(taken).toMatchObject({ kind: "stop-hung", waited_ms: 5 });
  expect(said).toEqual(["stop", "xen-save-devices-state", "cont"]);
  release.resolve();
  if (taken.kind === "stop-hung") await taken.released;
});

test("the last one on a host leaves the guest as it stood, unless something fails", async () => {
  const outcome = await takeTransaction(options({ stays: true }));
  expect(outcome.kind).toBe("taken");
  expect(said).not.toContain("cont");
  said = [];
  const failing = options({ stays: true });
  const tracker = { ...failing.tracker, collect: () => Promise.reject(new Error("it is gone")) };
  await expect(takeTransaction({ ...failing, tracker })).rejects.toThrow("it is gone");
  expect(said.filter((command) => command === "cont")).toHaveLength(1);
  said = [];
  const lost = { ...failing.tracker, take: () => Promise.reject(new Error("it is gone")) };
  await expect(takeTransaction({ ...failing, tracker: lost })).rejects.toThrow("it is gone");
  expect(said).toContain("cont");
});

test("outputs that always had room are drained once, when the device state is saved, which goes with stop", async () => {
  const outputs = {
    stopping: () => void said.push("stopping"),
    settle: async () => void said.push("settle"),
    lagged: false,
    drain: () => Promise.reject(new Error("nobody lagged")),
    count: () => 0,
  };
  const taken = await takeTransaction(options({ outputs, onStill: () => void said.push("mark") }));
  expect(taken.kind).toBe("taken");
  expect(said).toEqual([
    "stopping",
    "stop",
    "xen-save-devices-state",
    "settle",
    "take",
    "mark",
    "query-status",
    "cont",
    "collect",
  ]);
});

test("those that may have had none are drained before device state, and what comes after has it saved again", async () => {
  let count = 0;
  const late = [1, 1, 0];
  const qmp = monitor({
    // QEMU, whose peer lagged, goes on sending while it saves: twice.
    "xen-save-devices-state": async () => {
      count += late.pop() ?? 0;
    },
  });
  const outputs = {
    stopping: () => undefined,
    settle: async () => void said.push("settle"),
    lagged: true,
    drain: async (roundTrip: () => Promise<unknown>) => {
      said.push("drain");
      await roundTrip();
    },
    count: () => count,
  };
  const taken = await takeTransaction(options({ qmp, outputs, onStill: () => void said.push("mark") }));
  expect(taken.kind).toBe("taken");
  const first = ["stop", "xen-save-devices-state", "settle"];
  const round = ["drain", "query-status", "xen-save-devices-state", "drain", "query-status"];
  expect(said).toEqual([...first, ...round, ...round, ...round, "take", "mark", "query-status", "cont", "collect"]);
});

test("what is captured beside the pages is there before the guest runs on, and voids the transaction where it is not", async () => {
  const capturing = Promise.withResolvers<void>();
  const beside = () => {
    said.push("capture");
    return capturing.promise.then(() => void said.push("captured"));
  };
  const taking = takeTransaction(options({ beside, onStill: () => capturing.resolve() }));
  expect((await taking).kind).toBe("taken");
  expect(said).toEqual([
    "stop",
    "xen-save-devices-state",
    "take",
    "capture",
    "captured",
    "query-status",
    "cont",
    "collect",
  ]);
  said = [];
  const failing = options({ beside: () => Promise.reject(new Error("no flush came")) });
  await expect(takeTransaction(failing)).rejects.toThrow("no flush came");
  expect(said.slice(-2)).toEqual(["cont", "release"]);
});

test("a guest that puts something out after its state was saved has its transaction thrown away, and runs on", async () => {
  let count = 0;
  const still = { stopping: () => undefined, settle: async () => undefined, drain: async () => undefined };
  const outputs = { ...still, lagged: false, count: () => count };
  const speaks = {
    ...options({}).tracker,
    take: async () => ({ ...(await options({}).tracker.take(1, 0)), n: ++count }),
  };
  await expect(takeTransaction(options({ outputs, tracker: speaks }))).rejects.toThrow(/put something out/);
  expect(said.slice(-2)).toEqual(["cont", "release"]);
  const endless = { ...still, lagged: true, count: () => ++count };
  await expect(takeTransaction(options({ outputs: endless }))).rejects.toThrow(/goes on putting out/);
});
