import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WaitTimeoutError } from "../../base/errors.ts";
import type { QmpEvent } from "../../qemu/qmp.ts";
import { generation, transactionNumber } from "../core/index.ts";
import { isStoppable, type TakeOptions, type TransactionMonitor, takeTransaction } from "./take.ts";

let folder: string;
let said: string[];
const listeners = new Set<(event: QmpEvent) => void>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-take-"));
  said = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A monitor that notes what it was told. `answers` fail or delay a command. */
function monitor(answers: Record<string, () => Promise<unknown>> = {}): TransactionMonitor {
  const execute = async (command: string, args?: { filename?: string }): Promise<unknown> => {
    const head = { name: command, data: {}, at_ms: said.push(command) };
    if (command === "xen-save-devices-state" && args?.filename) writeFileSync(args.filename, "state");
    const answer = (await answers[command]?.()) ?? {};
    if (command === "stop" || command === "cont") {
      for (const listener of listeners) listener({ ...head, kind: command === "stop" ? "stop" : "resume" });
    }
    return answer;
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
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "cont", "resumed", "collect"]);
  expect(taken).toMatchObject({ kind: "taken", transaction: { n: 1, generation: 1, mode: "quick" } });
  if (taken.kind === "taken") expect(taken.transaction.device_state.toString()).toBe("state");
  expect(existsSync(join(folder, "state"))).toBe(false);
  // By the stamps of its events, which this monitor numbers: stop is the first command, cont comes after save and take.
  expect(taken).toMatchObject({ transaction: { timings: { still_ms: 3 } } });
  expect(listeners.size).toBe(0);
});

test("a guest that stood still before is left as it stood, whatever comes", async () => {
  await takeTransaction(options({ stood: true, onResumed: () => void said.push("resumed") }));
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "collect"]);
  said = [];
  const broken = monitor({ "xen-save-devices-state": () => Promise.reject(new Error("no space")) });
  await expect(takeTransaction(options({ qmp: broken, stood: true, stays: true }))).rejects.toThrow("no space");
  expect(said).not.toContain("cont");
  said = [];
  const hangs = monitor({ stop: () => Promise.reject(new WaitTimeoutError("stop", 5)) });
  expect(await takeTransaction(options({ qmp: hangs, stood: true }))).toMatchObject({ kind: "stop-hung" });
  expect(said).toEqual(["stop", "xen-save-devices-state", "query-status"]);
});

/** A monitor of a VM that is in this state. */
function being(status: string, others: Parameters<typeof monitor>[0] = {}): TransactionMonitor {
  return monitor({ "query-status": async () => ({ running: status === "running", status }), ...others });
}

test.each(["paused", "io-error", "debug", "guest-panicked"])(
  "a guest that somebody else has paused (%s) is taken as it stands, and stays so",
  async (status) => {
    const onResumed = (): void => void said.push("resumed");
    const qmp = being(status);
    const taken = await takeTransaction(options({ qmp, ran: true, hold_ms: 60_000, onResumed }));
    expect(said).toEqual(["query-status", "stop", "xen-save-devices-state", "take", "collect"]);
    expect(taken).toMatchObject({ kind: "taken", stood: status });
    if (taken.kind === "taken") expect(taken.transaction.timings.held_ms).toBeUndefined();
    const broken = being(status, { "xen-save-devices-state": () => Promise.reject(new Error("no space")) });
    await expect(takeTransaction(options({ qmp: broken, ran: true }))).rejects.toThrow("no space");
    const hangs = being(status, { stop: () => Promise.reject(new WaitTimeoutError("stop", 5)) });
    expect(await takeTransaction(options({ qmp: hangs, ran: true }))).toMatchObject({ kind: "stop-hung" });
    expect(said).not.toContain("cont");
  },
);

test("one that somebody else has paused does not leave, and stays as it stood", async () => {
  await expect(takeTransaction(options({ qmp: being("paused"), ran: true, stays: true }))).rejects.toThrow(
    "somebody has paused the VM (paused)",
  );
  expect(said).not.toContain("take");
  expect(said).not.toContain("cont");
  expect(said).toContain("release");
});

test("one that runs, or sleeps by itself, runs again", async () => {
  for (const status of ["running", "suspended"]) {
    said = [];
    const taken = await takeTransaction(options({ qmp: being(status), ran: true }));
    expect(said).toContain("cont");
    expect(taken).not.toHaveProperty("stood");
  }
});

test("one that may stand for an earlier transaction is not asked for, and runs again", async () => {
  await takeTransaction(options({ qmp: being("paused") }));
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "cont", "collect"]);
});

test("a question that is not answered is a stop that hangs", async () => {
  const hangs = monitor({ "query-status": () => Promise.reject(new WaitTimeoutError("query-status", 5)) });
  expect(await takeTransaction(options({ qmp: hangs, ran: true }))).toMatchObject({ kind: "stop-hung" });
  expect(said.at(-1)).toBe("cont");
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
  expect(said).toEqual(["stopping", "stop", "xen-save-devices-state", "settle", "take", "mark", "cont", "collect"]);
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
  expect(said).toEqual([...first, ...round, ...round, ...round, "take", "mark", "cont", "collect"]);
});

test("what is captured beside the pages is there before the guest runs on, and voids the transaction where it is not", async () => {
  const capturing = Promise.withResolvers<void>();
  const beside = () => {
    said.push("capture");
    return capturing.promise.then(() => void said.push("captured"));
  };
  const taking = takeTransaction(options({ beside, onStill: () => capturing.resolve() }));
  expect((await taking).kind).toBe("taken");
  expect(said).toEqual(["stop", "xen-save-devices-state", "take", "capture", "captured", "cont", "collect"]);
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
