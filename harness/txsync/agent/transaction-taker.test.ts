import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { WaitTimeoutError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import {
  type AgentState,
  frameNumber,
  generation,
  type RecordHeader,
  type TransactionNumber,
  transactionNumber,
} from "../core/index.ts";
import type { TakenRecord } from "../data/index.ts";
import { ZERO_FLAG } from "../dirty/pages.ts";
import { readSpool } from "../dirty/spool.ts";
import { BUILD_MS, buildNative, canBuildNative, type NativeTools } from "../dirty/testing/native.ts";
import type { Armed, CollectedPages, DirtyTracker, TakenPages } from "../dirty/tracker.ts";
import { blockSeed, DigestSum, pageLanes } from "../log/index.ts";
import { type ScriptedVm, Stage } from "./testing/stage.ts";
import { type TakerParts, TransactionTaker } from "./transaction-taker.ts";

const PAGES = 64;
const BLOCK = { name: RAM_BLOCK, bytes: PAGES * PAGE_BYTES };

let stage: Stage;
let vm: ScriptedVm;
beforeEach(() => {
  stage = new Stage("target");
  vm = stage.put("incoming");
  vm.migration = "postcopy-active";
  vm.answers.set("xen-save-devices-state", ({ filename }) => writeFileSync(String(filename), "device state"));
});
afterEach(() => stage[Symbol.dispose]());

/** The core asked for this transaction, and has heard nothing else since. */
function asked(of: number, n: number, changes: Partial<AgentState["tx"]> = {}): void {
  const { tx, opened } = stage.state;
  stage.set({
    opened: { ...opened, generation: generation(of), owner: "target", mode: "protected" },
    tx: { ...tx, stage: "taking", next: transactionNumber(n), ...changes },
  });
}

function take(taker: TransactionTaker, of: number, n: number, since: TransactionNumber | "base" = "base"): void {
  asked(of, n);
  taker.take({ kind: "takeTransaction", generation: generation(of), n: transactionNumber(n), since });
}

function has(kind: "transactionTaken" | "transactionFailed", of: number, n: number): boolean {
  return stage.told.some((told) => told.kind === kind && told.generation === of && told.n === n);
}

function header(of: number, n: number, since: TransactionNumber | "base" = "base"): RecordHeader {
  const [mark, acked] = [frameNumber(0), frameNumber(0)];
  return { generation: generation(of), n: transactionNumber(n), since, mark, acked };
}

/** What the data plane was given last to send. */
function sent(): TakenRecord | undefined {
  return stage.data.asked.findLast(([call]) => call === "sendRecord")?.[1] as TakenRecord | undefined;
}

describe.skipIf(!canBuildNative())("with the real helper, base and log are what the memory was", () => {
  let tools: NativeTools;
  let ram: number;
  let taker: TransactionTaker;
  beforeAll(() => {
    tools = buildNative();
  }, BUILD_MS);
  afterAll(() => tools[Symbol.dispose]());
  beforeEach(async () => {
    const path = join(stage.folder, "guest-ram");
    ram = openSync(path, "w+");
    ftruncateSync(ram, PAGES * PAGE_BYTES);
    vm.ram = [{ ...BLOCK, where: { kind: "file", path } }];
    Object.assign(stage.config, { pagescan: tools.pagescan });
    taker = new TransactionTaker(stage.shell);
    write(1, 1);
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 1);
    await stage.until("the first transaction", () => has("transactionTaken", 1, 1));
  });
  afterEach(async () => {
    taker.stop();
    await taker.idle();
    closeSync(ram);
  });

  function write(page: number, byte: number): void {
    writeSync(ram, Buffer.alloc(PAGE_BYTES, byte), 0, PAGE_BYTES, page * PAGE_BYTES);
  }

  /** First byte of every page of the record that is sent, which is what its digest says. */
  async function record(of: number, n: number): Promise<Record<number, number>> {
    taker.send(header(of, n));
    const what = sent() as TakenRecord;
    expect(what.header).toMatchObject({ generation: of, n });
    const sum = new DigestSum();
    const found: Record<number, number> = {};
    for await (const { entries, content } of readSpool(what.spool)) {
      let at = 0;
      for (let i = 0; i < entries.length; i += 8) {
        const zero = (entries.readUInt32LE(i) & ZERO_FLAG) !== 0;
        const page = entries.readUInt32LE(i + 4);
        const bytes = zero ? Buffer.alloc(PAGE_BYTES) : content.subarray(at, at + PAGE_BYTES);
        if (!zero) at += PAGE_BYTES;
        found[page] = bytes[0] as number;
        const { lane1, lane2 } = pageLanes(blockSeed(RAM_BLOCK), page, bytes);
        sum.add(lane1, lane2);
      }
    }
    expect([sum.pages, sum.hex]).toEqual([what.modified_pages, what.digest]);
    return found;
  }

  test("a take that is slow, and dropped in its middle by another generation, leaves nothing out of the next record", async () => {
    taker.forget(1, 1);
    for (const page of [2, 3, 4, 5]) write(page, 2);
    const running = Promise.withResolvers<void>();
    vm.answers.set("cont", (_, time) => (time === 2 ? running.promise : undefined));
    take(taker, 4, 34);
    await stage.until("the copy of 34", () => vm.times("cont") === 2);
    // In the middle of it: two generations later the same number is asked for again.
    stage.onEvent = (event) => {
      if (event.kind === "transactionTaken" && event.generation === 4) taker.forget(4, 34);
    };
    take(taker, 6, 34);
    write(9, 3);
    running.resolve();
    await stage.until("34 of generation 6", () => has("transactionTaken", 6, 34));
    expect(await record(6, 34)).toEqual({ 1: 1, 2: 2, 3: 2, 4: 2, 5: 2, 9: 3 });
    expect(stage.lines).toEqual([]);
  });

  test("a record that is on its way is not touched when QEMU's connection is recovered", async () => {
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    expect(await record(1, 1)).toEqual({ 1: 1 });
  });

  test("a transaction that failed after pages were copied is in the next one", async () => {
    taker.forget(1, 1);
    write(7, 7);
    // Somebody else reads the device state's file away: the pages were found, and the transaction comes to nothing.
    vm.answers.set("xen-save-devices-state", () => undefined);
    take(taker, 1, 2, transactionNumber(1));
    await stage.until("the failure of 2", () => has("transactionFailed", 1, 2));
    vm.answers.set("xen-save-devices-state", ({ filename }) => writeFileSync(String(filename), "device state"));
    take(taker, 1, 3, transactionNumber(1));
    await stage.until("3", () => has("transactionTaken", 1, 3));
    taker.send(header(1, 3, transactionNumber(1)));
    expect(sent()?.spool.pages).toBe(1);
  });
});

/** A helper that is played. */
class ScriptedTracker implements DirtyTracker {
  mode: DirtyTracker["mode"] = "sure";
  readonly why = "";
  gone = false;
  held = false;
  onModeChange: DirtyTracker["onModeChange"];
  readonly said: string[] = [];

  async take(n: number, since: number): Promise<TakenPages> {
    this.said.push(`take ${n} ${since}`);
    if (this.gone) throw new Error("pagescan: it has ended");
    if (this.held) throw new Error("the transaction before was not released");
    this.held = true;
    return { mode: "sure", pages: 0, found_pages: 0, find_ms: 0, copy_ms: 0 };
  }

  async collect(): Promise<CollectedPages> {
    const spool = { content_path: "", entries_path: "", pages: 0, full_pages: 0, blocks: [] };
    return { spool, zero_pages: 0, modified_pages: 0, digest: { lane1: 0, lane2: 0 } };
  }

  async release(): Promise<void> {
    this.said.push("release");
    this.held = false;
  }

  /** What it was told of tracking from outside, in order. */
  readonly tracks: string[] = [];
  arm = async (guest = "running"): Promise<Armed> => {
    this.tracks.push(guest);
    return { mode: this.mode, pages: 0, arm_ms: 0 };
  };
  disarm = async (): Promise<void> => void this.tracks.push("disarm");
  look = async (): Promise<readonly []> => [];
  absorb = async (): Promise<number> => {
    this.said.push("absorb");
    return 0;
  };
  learn = async (block: string, first: number, content: Uint8Array): Promise<void> =>
    void this.said.push(`learn ${block} ${first} ${content.length}`);
  present = async (): Promise<readonly []> => [];
  async [Symbol.asyncDispose](): Promise<void> {
    this.said.push("end");
    this.gone = true;
  }
}

describe("with a helper that is played", () => {
  let trackers: ScriptedTracker[];
  /** How often the next openings fail. */
  let failing: number;
  let taker: TransactionTaker;
  const parts: TakerParts = {
    open: async () => {
      if (failing > 0) {
        failing -= 1;
        throw new Error("not permitted");
      }
      const tracker = new ScriptedTracker();
      trackers.push(tracker);
      return tracker;
    },
    again_ms: 0.1,
    later_ms: 1,
  };
  const tracker = (): ScriptedTracker => trackers.at(-1) as ScriptedTracker;
  beforeEach(() => {
    trackers = [];
    failing = 0;
    taker = new TransactionTaker(stage.shell, parts);
  });
  afterEach(() => taker.stop());

  test("the spool is free again before the next one is taken, whatever the core has said by then", async () => {
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 1);
    take(taker, 1, 2);
    // Both were asked for before the first was there; nobody has said what becomes of it.
    await stage.until("the second", () => has("transactionTaken", 1, 2) || has("transactionFailed", 1, 2));
    asked(1, 2);
    expect(tracker().said).toEqual(["take 2 0"]);
    take(taker, 1, 3);
    await stage.until("the third", () => has("transactionTaken", 1, 3));
    expect(tracker().said).toEqual(["take 2 0", "release", "take 3 0"]);
    expect(stage.data.calls.filter((call) => call === "dropRecord")).toHaveLength(1);
  });

  test.each([
    { epoch_ms: 60_000, times: 1 },
    { epoch_ms: 0, times: 3 },
  ])(
    "what changed is absorbed once in an epoch of $epoch_ms ms, however many transactions it has",
    async ({ epoch_ms, times }) => {
      Object.assign(stage.config, { epoch_ms });
      taker = new TransactionTaker(stage.shell, parts);
      taker.follow(vm.as, [BLOCK]);
      await taker.idle();
      tracker().mode = "quick";
      for (const n of [1, 2, 3]) {
        take(taker, 1, n);
        await stage.until(`transaction ${n}`, () => has("transactionTaken", 1, n));
        taker.forget(1, n);
      }
      await taker.idle();
      expect(tracker().said.filter((word) => word === "absorb")).toHaveLength(times);
    },
  );

  test("what is dropped late takes nothing from the one after it", async () => {
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 5);
    await stage.until("5", () => has("transactionTaken", 1, 5));
    take(taker, 2, 5);
    await stage.until("5 of the next generation", () => has("transactionTaken", 2, 5));
    taker.forget(1, 5);
    await taker.idle();
    taker.send(header(2, 5));
    expect(sent()?.header.generation).toBe(2);
    expect(tracker().held).toBe(true);
  });

  test("a data plane that cannot let go of the spool stops takes, is said, and is asked again", async () => {
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 1);
    await stage.until("1", () => has("transactionTaken", 1, 1));
    stage.data.on("dropRecord", (_, time) => {
      if (time <= 2) throw new Error("it is busy");
    });
    taker.forget(1, 1);
    take(taker, 1, 2);
    await stage.until("the failure of 2", () => has("transactionFailed", 1, 2));
    expect(stage.lines.join()).toContain("it is busy");
    take(taker, 1, 3);
    await stage.until("3", () => has("transactionTaken", 1, 3));
    expect(tracker().said).toEqual(["take 1 0", "release", "take 3 0"]);
  });

  test("a helper that ends is replaced by another one", async () => {
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 1);
    await stage.until("1", () => has("transactionTaken", 1, 1));
    taker.forget(1, 1);
    await taker.idle();
    tracker().gone = true;
    take(taker, 1, 2);
    await stage.until("2", () => has("transactionTaken", 1, 2));
    expect(trackers).toHaveLength(2);
    expect(tracker().said).toEqual(["take 2 0"]);
    expect(stage.kinds).not.toContain("untrackable");
  });

  test("a memory that nobody may look at is said once, tried on, and said to be seen again", async () => {
    failing = 12;
    taker.follow(vm.as, [BLOCK]);
    await stage.until("a helper", () => trackers.length > 0);
    await taker.idle();
    expect(stage.kinds).toEqual(["untrackable", "trackable"]);
    expect(stage.lines).toHaveLength(5);
    take(taker, 1, 1);
    await stage.until("1", () => has("transactionTaken", 1, 1));
  });

  test("one that is not looked at for long is not told of when it opens at the second try", async () => {
    failing = 1;
    taker.follow(vm.as, [BLOCK]);
    await stage.until("a helper", () => trackers.length > 0);
    await taker.idle();
    expect(stage.kinds).toEqual([]);
    expect(stage.lines).toHaveLength(1);
  });

  test("nothing is tried for a QEMU that is ended", async () => {
    failing = 1_000_000;
    taker.follow(vm.as, [BLOCK]);
    await stage.until("the word of it", () => stage.kinds.includes("untrackable"));
    vm.end();
    taker.stop();
    await taker.idle();
    const left = failing;
    await new Promise((resolve) => setTimeout(resolve, 5));
    await taker.idle();
    expect(failing).toBe(left);
    expect(stage.kinds).toEqual(["untrackable"]);
  });

  test("a stop that hangs: nothing is asked of QEMU until it has answered", async () => {
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    const released = Promise.withResolvers<void>();
    vm.answers.set("stop", () => Promise.reject(new WaitTimeoutError("stop", 5)));
    vm.answers.set("cont", () => released.promise);
    take(taker, 1, 1);
    await stage.until("the failure of 1", () => has("transactionFailed", 1, 1));
    expect(stage.lines.join()).toContain("did not stop");
    take(taker, 1, 2);
    await stage.until("the failure of 2", () => has("transactionFailed", 1, 2));
    expect(vm.times("stop")).toBe(1);
    vm.answers.delete("stop");
    released.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    take(taker, 1, 3);
    await stage.until("3", () => has("transactionTaken", 1, 3));
  });

  test("whoever serves what a stop waits for is told of it until it is over, however late, and whatever it is for", async () => {
    const told: boolean[] = [];
    const part = { name: "disk", stopping: (on: boolean) => void told.push(on), capture: () => undefined };
    Object.assign(stage.shell, { parts: [part] });
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    const released = Promise.withResolvers<void>();
    vm.answers.set("stop", () => Promise.reject(new WaitTimeoutError("stop", 5)));
    vm.answers.set("cont", () => released.promise);
    take(taker, 1, 1);
    await stage.until("the failure of 1", () => has("transactionFailed", 1, 1));
    await taker.idle();
    expect(told).toEqual([true]);
    vm.answers.delete("stop");
    released.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([true, false]);
    await taker.hold(
      vm.as,
      () => true,
      () => undefined,
    );
    expect(told).toEqual([true, false, true, false]);
  });

  test("whoever serves what a stop waits for is told that it is over when the guest runs again, not when all is collected", async () => {
    const told: boolean[] = [];
    const part = { name: "disk", stopping: (on: boolean) => void told.push(on), capture: () => undefined };
    Object.assign(stage.shell, { parts: [part] });
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    const collecting = Promise.withResolvers<void>();
    const played = tracker();
    const collect = played.collect.bind(played);
    played.collect = async () => {
      await collecting.promise;
      return await collect();
    };
    take(taker, 1, 1);
    await stage.until("the guest to run", () => vm.times("cont") === 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual([true, false]);
    collecting.resolve();
    await stage.until("1", () => has("transactionTaken", 1, 1));
    await taker.idle();
    expect(told).toEqual([true, false]);
  });

  test("what was asked for in another generation, or of a QEMU that is let go, is not taken", async () => {
    taker.follow(vm.as, [BLOCK]);
    taker.take({ kind: "takeTransaction", generation: generation(1), n: transactionNumber(1), since: "base" });
    asked(2, 1);
    await taker.idle();
    expect(stage.told).toMatchObject([{ kind: "transactionFailed", generation: 1, n: 1 }]);
    taker.stop();
    take(taker, 2, 1);
    await taker.idle();
    expect(vm.said).toEqual([]);
    expect(tracker().said).toEqual(["end"]);
  });

  test("a paused migration is not stopped", async () => {
    taker.follow(vm.as, [BLOCK]);
    vm.migration = "postcopy-paused";
    take(taker, 1, 1);
    await stage.until("the failure", () => has("transactionFailed", 1, 1));
    expect(vm.said).toEqual([]);
  });

  test("the helper ends with the QEMU, even where the data plane says nothing", async () => {
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    stage.data.on("dropRecord", () => new Promise(() => undefined));
    taker.stop();
    await taker.idle();
    expect(tracker().said).toEqual(["end"]);
  });

  test("a record is not sent with less than the log needs", async () => {
    taker.follow(vm.as, [BLOCK]);
    take(taker, 1, 4, transactionNumber(3));
    await stage.until("4", () => has("transactionTaken", 1, 4));
    for (const wrong of [header(1, 4, "base"), header(1, 4, transactionNumber(2)), header(1, 3), header(2, 4)])
      taker.send(wrong);
    expect(sent()).toBeUndefined();
    taker.send(header(1, 4, transactionNumber(3)));
    expect(sent()?.header).toMatchObject({ n: 4, since: 3 });
  });

  test("pages that come faster than they are learnt are taken for changed, and wait nowhere", async () => {
    const content = new Uint8Array(2 ** 20);
    for (let i = 0; i < 64; i += 1) taker.learn(RAM_BLOCK, i * 256, content);
    taker.follow(vm.as, [BLOCK]);
    await taker.idle();
    for (let i = 0; i < 64; i += 1) taker.learn(RAM_BLOCK, i * 256, content);
    await taker.idle();
    const learnt = tracker().said.length;
    expect(learnt).toBeGreaterThanOrEqual(16);
    expect(learnt).toBeLessThan(20);
    taker.learn(RAM_BLOCK, 0, content);
    await taker.idle();
    expect(tracker().said).toHaveLength(learnt + 1);
  });

  test("a guest that writes more than the log takes is held back, and let go again, and that is said", async () => {
    taker.follow(vm.as, [BLOCK]);
    Object.assign(stage.config, { epoch_ms: 0.000001 });
    const slow = new TransactionTaker(stage.shell, parts);
    slow.follow(vm.as, [BLOCK]);
    take(slow, 1, 1);
    await stage.until("1", () => has("transactionTaken", 1, 1));
    slow.committed(1, 1);
    const notes = stage.events.flatMap((event) => (event.kind === "run.note" ? [event.text] : []));
    expect(notes.join()).toContain("held back 5 %");
    expect(notes.join()).toContain("epochs stretch");
    slow.stop();
  });

  describe("a VM that somebody else pauses", () => {
    const notes = (): string[] => stage.events.flatMap((event) => (event.kind === "run.note" ? [event.text] : []));
    let n = 0;
    /** What QEMU was told for the next transaction, but for its device state. */
    const takes = async (end: "transactionTaken" | "transactionFailed" = "transactionTaken"): Promise<string[]> => {
      if (n > 0) taker.forget(1, n);
      n += 1;
      vm.said.splice(0);
      take(taker, 1, n);
      await stage.until(`the end of ${n}`, () => has(end, 1, n));
      return vm.said.filter((word) => word !== "xen-save-devices-state");
    };
    const [asks, goes] = ["query-status", "cont"];
    beforeEach(async () => {
      n = 0;
      taker.follow(vm.as, [BLOCK]);
      await taker.idle();
    });

    test("stays paused, though its transactions go on, and runs on as soon as it is let; each is said once", async () => {
      // An earlier life of this agent may have left it standing in the middle of a transaction.
      vm.lets(false);
      expect(await takes()).toEqual(["stop", asks, goes]);
      expect(await takes()).toEqual([asks, "stop", asks, goes]);
      expect(notes()).toEqual([]);
      vm.lets(false);
      for (let i = 0; i < 3; i += 1) expect(await takes()).toEqual([asks, "stop", asks]);
      vm.lets(true);
      for (let i = 0; i < 2; i += 1) expect(await takes()).toEqual([asks, "stop", asks, goes]);
      expect(notes()).toEqual([expect.stringContaining("(paused)"), "the VM is not paused any more"]);
    });

    test("stays paused when a transaction of it fails, or its last one on this host", async () => {
      await takes();
      vm.lets(false);
      const save = vm.answers.get("xen-save-devices-state");
      vm.answers.set("xen-save-devices-state", () => Promise.reject(new Error("no space")));
      for (let i = 0; i < 2; i += 1) expect(await takes("transactionFailed")).toEqual([asks, "stop"]);
      if (save !== undefined) vm.answers.set("xen-save-devices-state", save);
      n += 1;
      asked(1, n);
      taker.take({
        kind: "takeTransaction",
        generation: generation(1),
        n: transactionNumber(n),
        since: "base",
        last: true,
      });
      await stage.until("its refusal", () => has("transactionFailed", 1, n));
      expect(await takes()).toEqual([asks, "stop", asks]);
      vm.migration = "postcopy-paused";
      await takes("transactionFailed");
      vm.migration = "postcopy-active";
      expect(await takes()).toEqual([asks, "stop", asks]);
      expect(vm.runs).toBe(false);
    });

    test("and lets run while QEMU's own tracking ends: what it writes before ours begins is not lost", async () => {
      await takes();
      tracker().mode = "quick";
      for (const disturbs of [false, true]) {
        tracker().tracks.splice(0);
        taker.handOver(async () => {
          if (disturbs) vm.lets(true);
        });
        await takes(disturbs ? "transactionFailed" : "transactionTaken");
        expect(tracker().tracks).toEqual(disturbs ? ["still", "disarm", "running"] : ["still"]);
        expect(vm.runs).toBe(true);
      }
    });

    test("is let run by the next transaction where an earlier one may have left it standing", async () => {
      await takes();
      vm.answers.set("cont", () => Promise.reject(new Error("the connection ended")));
      await takes("transactionFailed");
      expect(vm.runs).toBe(false);
      vm.answers.delete("cont");
      expect(await takes()).toEqual(["stop", asks, goes]);
      expect(vm.runs).toBe(true);
    });

    test("is not held for its output, and so not let run when that has gone", async () => {
      await takes();
      vm.lets(false);
      Object.assign(stage.config, { output_held_bytes: 8 * 1024 });
      stage.set({ vm: "running", promised: { ...stage.state.opened }, begun: generation(1) });
      vm.said.splice(0);
      for (const bytes of [9 * 1024, 0]) {
        stage.waiting_bytes = bytes;
        taker.held.afterStep();
        await taker.idle();
      }
      expect(vm.said).toEqual([asks, "stop"]);
      expect(stage.events.map(({ kind }) => kind)).not.toContain("gate.full");
    });
  });

  describe("output that waits", () => {
    const KIB = 1024;
    const events = (): string[] => stage.events.map(({ kind }) => kind).filter((kind) => kind.startsWith("gate."));
    /** The VM runs here, protected, and so much of its output waits. */
    async function waits(bytes: number): Promise<void> {
      stage.waiting_bytes = bytes;
      taker.held.afterStep();
      await taker.idle();
    }
    beforeEach(async () => {
      Object.assign(stage.config, { output_held_bytes: 8 * KIB });
      asked(1, 1);
      stage.set({ vm: "running", promised: { ...stage.state.opened }, begun: generation(1) });
      taker.follow(vm.as, [BLOCK]);
      await taker.idle();
    });

    test("makes the guest stand still when it is too much, and run again when half of it has gone", async () => {
      await waits(8 * KIB);
      expect(vm.said).toEqual([]);
      await waits(8 * KIB + 1);
      await waits(20 * KIB);
      await waits(4 * KIB + 1);
      expect(vm.said).toEqual(["stop"]);
      await waits(4 * KIB);
      expect(vm.said).toEqual(["stop", "cont"]);
      const generation = 1;
      expect(stage.events.filter(({ kind }) => kind.startsWith("gate."))).toEqual([
        { kind: "gate.full", generation, bytes: 8 * KIB + 1 },
        { kind: "gate.room", generation, bytes: 4 * KIB, most_bytes: 20 * KIB, stood_ms: expect.any(Number) },
      ]);
    });

    test("transactions go on of a guest that stands, which they leave standing", async () => {
      await waits(9 * KIB);
      take(taker, 1, 1);
      await stage.until("1", () => has("transactionTaken", 1, 1));
      expect(vm.times("cont")).toBe(0);
      await waits(0);
      taker.forget(1, 1);
      take(taker, 1, 2);
      await stage.until("2", () => has("transactionTaken", 1, 2));
      expect(vm.times("cont")).toBe(2);
    });

    test("one that was asked for in the same moment is of a guest that stands", async () => {
      stage.waiting_bytes = 9 * KIB;
      taker.held.afterStep();
      take(taker, 1, 1);
      await stage.until("1", () => has("transactionTaken", 1, 1));
      expect(vm.times("stop")).toBe(2);
      expect(vm.times("cont")).toBe(0);
    });

    test("stops nothing where a `stop` may hang, the output leaves freely, or the VM is not ours", async () => {
      vm.migration = "postcopy-paused";
      await waits(9 * KIB);
      vm.migration = "postcopy-active";
      const { opened } = stage.state;
      stage.set({ opened: { ...opened, mode: "unprotected" } });
      await waits(9 * KIB);
      stage.set({ opened: { ...opened, owner: "source" } });
      await waits(9 * KIB);
      expect(vm.said).toEqual([]);
      stage.set({ opened });
      await waits(9 * KIB);
      expect(vm.said).toEqual(["stop"]);
    });

    test("holds nobody any more once all of it may leave, though it has not left", async () => {
      await waits(9 * KIB);
      stage.set({ opened: { ...stage.state.opened, mode: "final" } });
      taker.stop();
      await waits(9 * KIB);
      expect(vm.said).toEqual(["stop", "cont"]);
    });

    test("stops it again where somebody else has let it run", async () => {
      await waits(9 * KIB);
      vm.lets(true);
      await waits(9 * KIB);
      expect(vm.said).toEqual(["stop", "stop"]);
      expect(events()).toEqual(["gate.full", "gate.room", "gate.full"]);
      expect(vm.listeners).toBe(1);
    });

    test("a `cont` that fails is asked for again, a QEMU that is gone is left alone", async () => {
      vm.answers.set("cont", (_, time) => {
        if (time === 1) throw new Error("it is busy");
      });
      await waits(9 * KIB);
      await waits(0);
      await waits(0);
      expect(vm.said).toEqual(["stop", "cont", "cont"]);
      expect(stage.lines.join()).toContain("it is busy");
      await waits(9 * KIB);
      stage.vm = undefined;
      await waits(9 * KIB);
      expect(taker.held.standing).toBeUndefined();
      expect(vm.times("stop")).toBe(2);
    });
  });
});
