import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { frameNumber, generation, type HostMemory, transactionNumber } from "../core/index.ts";
import { encodePackage, type Package } from "../data/index.ts";
import { findAgain, goOnWith } from "./adoption.ts";
import { performing } from "./perform.ts";
import { Restorer } from "./restorer.ts";
import { SourceSide } from "./source-side.ts";
import { TargetSide } from "./target-side.ts";
import { type ScriptedVm, Stage } from "./testing/stage.ts";
import { TransactionTaker } from "./transaction-taker.ts";
import { VmLife } from "./vm-life.ts";

const PACKAGE: Package = {
  base: "0123456789abcdef",
  machine: "pc-q35-10.0",
  ram_section_id: 2,
  blocks: [],
  bytes_per_s: 0,
  preamble: Buffer.from("before"),
  packaged: Buffer.from("package"),
};
// Header, end mark: a device state without devices.
const DEVICE_STATE = Buffer.from("5145564d0000000300", "hex");
const MEMORY = {
  device_state: DEVICE_STATE,
  small: [],
  mark: 5,
  acked: 3,
  frames: [],
  pages: 2,
  modified_pages: 2,
  digest: "00",
};

let stage: Stage;
let target: TargetSide;
let taker: TransactionTaker;
let restorer: Restorer;
let life: VmLife;
function make(role: "source" | "target" | "escrow"): void {
  stage = new Stage(role);
  taker = new TransactionTaker(stage.shell, {
    open: () => Promise.reject(new Error("not here")),
    again_ms: 0.1,
    later_ms: 5_000,
  });
  target = new TargetSide(stage.shell, taker);
  restorer = new Restorer(stage.shell, 0.1);
  life = new VmLife(stage.shell, new SourceSide(stage.shell), target, restorer, 0.1);
  stage.data.on("restore", () => MEMORY);
  stage.onStart = (_, vm) => stage.loads(vm);
  writeFileSync(join(stage.folder, "base"), "");
}
beforeEach(() => make("target"));
afterEach(async () => {
  taker.stop();
  await taker.idle();
  stage[Symbol.dispose]();
});

const START = { kind: "startRestore", generation: generation(3), n: transactionNumber(4), from: "log" } as const;

describe("a restore", () => {
  test("is ready when memory, device state and output are there; nothing runs yet", async () => {
    await restorer.restore(START, PACKAGE, true);
    expect(stage.told).toMatchObject([{ kind: "restoreReady", generation: 3, n: 4, mark: 5, acked: 3 }]);
    expect(stage.vm?.said).not.toContain("cont");
    expect(stage.events.map(({ kind }) => kind)).toContain("restore.verified");
  });

  test.each([
    ["a digest that is another one", "the memory made of transaction 4 gives 01, twice: it must not run"],
    ["a silent escrow", "the escrow said nothing more of its log"],
  ])("%s: it is said, no QEMU is left, and it is told", async (_, why) => {
    stage.data.on("restore", () => Promise.reject(new Error(why)));
    await restorer.restore(START, PACKAGE, false);
    expect(stage.told).toEqual([{ kind: "restoreFailed", generation: 3 }]);
    expect(stage.lines.join()).toContain(why);
    expect(stage.vm).toBeUndefined();
    expect(stage.events.map(({ kind }) => kind)).not.toContain("restore.verified");
  });

  test("a QEMU that ends instead of standing by", async () => {
    stage.onStart = () => {
      throw new Error("QEMU ended at once");
    };
    await restorer.restore(START, PACKAGE, false);
    expect(stage.told).toEqual([{ kind: "restoreFailed", generation: 3 }]);
  });

  test("a QEMU that refuses the stream", async () => {
    stage.onStart = (_, vm) => {
      stage.loads(vm);
      vm.answers.set("query-migrate", () => ({ status: "failed", "error-desc": "bad section" }));
    };
    await restorer.restore(START, PACKAGE, false);
    expect(stage.kinds).toEqual(["restoreFailed"]);
    expect(stage.lines.join()).toContain("bad section");
  });

  test("a package alone, of a base that was laid over", async () => {
    const packaged = { ...PACKAGE, packaged: Buffer.alloc(20) };
    stage.data.on("restorePackage", () => Promise.reject(new Error("not the VM any more")));
    await restorer.restore({ ...START, from: "package" }, packaged, false);
    expect(stage.kinds).toEqual(["restoreFailed"]);
  });

  /** Where a restore waits for somebody: what is given up there tells nothing, and leaves nothing that stands. */
  const MOMENTS = ["restore", "start", "migrate-incoming", "query-migrate", "failing"];
  test.each(MOMENTS)("given up while it waits for %s", async (moment) => {
    let aborted: Promise<void> | undefined;
    const give_up = (): void => {
      aborted ??= restorer.abort();
    };
    if (moment === "restore")
      stage.data.on("restore", () => {
        give_up();
        return MEMORY;
      });
    if (moment === "failing")
      stage.data.on("restore", () => {
        give_up();
        throw new Error("it is not wanted any more");
      });
    stage.onStart = (_, vm) => {
      if (moment === "start") give_up();
      stage.loads(vm);
      const before = vm.answers.get(moment);
      if (before === undefined) return;
      vm.answers.set(moment, (args, time) => {
        give_up();
        return before(args, time);
      });
    };
    await restorer.restore(START, PACKAGE, true);
    await aborted;
    expect(stage.kinds).toEqual([]);
  });

  test("abort ends QEMU though the data plane says nothing, and before another restore begins", async () => {
    await restorer.restore(START, PACKAGE, true);
    stage.data.on("abortRestore", () => new Promise(() => undefined));
    const old = stage.vm as ScriptedVm;
    const aborted = restorer.abort();
    await restorer.restore({ ...START, generation: generation(5) }, PACKAGE, true);
    await aborted;
    expect(old.gone).toBe(true);
    expect(stage.vm?.gone).toBe(false);
    expect(stage.told.at(-1)).toMatchObject({ kind: "restoreReady", generation: 5 });
  });

  test("of a package that nobody has is told to have failed", async () => {
    await life.restore(START);
    expect(stage.told).toEqual([{ kind: "restoreFailed", generation: 3 }]);
  });
});

describe("what the core decides of the VM", () => {
  test("it ends, whatever the data plane says", async () => {
    const vm = stage.put("incoming");
    writeFileSync(stage.config.ram_path, "");
    stage.data.on("stopFeed", () => new Promise(() => undefined));
    await life.stop();
    expect([vm.gone, existsSync(stage.config.ram_path)]).toEqual([true, false]);
  });

  test("it runs when QEMU says so, and not before", async () => {
    const vm = stage.put("restore");
    vm.answers.set("query-status", (_, time) => ({ running: time > 4, status: "x" }));
    vm.answers.set("cont", (_, time) => {
      if (time === 2) throw new Error("busy");
    });
    await life.run();
    expect(stage.kinds).toEqual(["vmRunning"]);
    expect(vm.times("cont")).toBe(6);
  });

  test("one that ends instead is told of by its end alone", async () => {
    const vm = stage.put("restore");
    vm.answers.set("cont", () => vm.end());
    await life.run();
    expect(stage.kinds).toEqual([]);
    life.gone(vm.as);
    expect(stage.kinds).toEqual(["qemuGone"]);
  });

  test.each([
    ["incoming", ["stopFeed"]],
    ["running", []],
  ] as const)("one that ends while it is %s: what came ahead of it is let go of, and nothing else", (state, calls) => {
    const vm = stage.put("incoming");
    stage.set({ vm: state });
    stage.data.asked.splice(0);
    vm.end();
    life.gone(vm.as);
    expect(stage.kinds.at(-1)).toBe("qemuGone");
    expect(stage.data.calls).toEqual(calls);
  });

  test("clean-up that fails is not the VM's failure", async () => {
    stage.loads(stage.put("restore"));
    stage.data.on("forgetBase", () => Promise.reject(new Error("busy")));
    await life.run();
    expect(stage.kinds).toEqual(["vmRunning"]);
    expect(stage.lines).toEqual(["busy"]);
  });
});

describe("the target", () => {
  test("a package that makes no sense is refused", () => {
    expect(() => target.packageCame(Buffer.from("nonsense"))).toThrow("makes no sense");
  });

  test("a QEMU that does not take the package ends, and that is told once", async () => {
    const vm = stage.put("incoming");
    target.packageCame(Buffer.concat(encodePackage(PACKAGE)));
    vm.answers.set("migrate-incoming", () => Promise.reject(new Error("address in use")));
    await target.load();
    expect([stage.kinds, vm.gone]).toEqual([["qemuGone"], true]);
    expect(stage.lines.join()).toContain("address in use");
  });

  test("a package that cannot be kept is not loaded", async () => {
    const vm = stage.put("incoming");
    target.packageCame(Buffer.concat(encodePackage(PACKAGE)));
    Object.assign(stage.config, { memory_folder: join(stage.folder, "nowhere") });
    await target.load();
    expect([stage.kinds, vm.said.includes("migrate-incoming")]).toEqual([["qemuGone"], false]);
  });

  async function loaded(): Promise<ScriptedVm> {
    const vm = stage.put("incoming");
    target.packageCame(Buffer.concat(encodePackage(PACKAGE)));
    await target.load();
    stage.set({ vm: "running" });
    vm.tell({ kind: "resume" });
    vm.tell({ kind: "resume" });
    return vm;
  }

  test("it runs from QEMU's first word of it, which counts once", async () => {
    await loaded();
    expect(stage.kinds.filter((kind) => kind === "vmRunning")).toHaveLength(1);
  });

  test("a connection that is gone is recovered; a refusal to listen is asked again", async () => {
    const vm = await loaded();
    vm.migration = "postcopy-paused";
    vm.answers.set("migrate-recover", (_, time) => {
      if (time === 1) throw new Error("not paused yet");
    });
    stage.data.on("recover", () => ({ count: 1, total: 2 }));
    target.feedClosed("broken");
    await stage.until("the recovery", () => stage.data.calls.includes("recover"));
    expect(vm.times("migrate-recover")).toBe(2);
    expect(vm.gone).toBe(false);
  });

  test("a recovery that fails ends QEMU: the log has its VM", async () => {
    const vm = await loaded();
    vm.migration = "postcopy-paused";
    stage.data.on("recover", () => Promise.reject(new Error("handshake")));
    await target.recover(vm.as);
    expect([vm.gone, stage.kinds.at(-1)]).toEqual([true, "qemuGone"]);
  });

  test("one whose QEMU is another's by then ends nothing", async () => {
    const vm = await loaded();
    vm.migration = "postcopy-paused";
    stage.data.on("recover", () => {
      stage.put("restore");
      throw new Error("handshake");
    });
    await target.recover(vm.as);
    expect(stage.vm?.gone).toBe(false);
    expect(stage.kinds).not.toContain("qemuGone");
  });

  test("what is handed off while its stream is being recovered is ended when QEMU has answered", async () => {
    const vm = await loaded();
    vm.migration = "postcopy-paused";
    const opened = { ...stage.state.opened, owner: "target", mode: "final", generation: generation(2) } as const;
    stage.data.on("recover", () => {
      stage.set({ allPages: true, opened, promised: opened, begun: generation(2) });
      target.afterStep();
      expect(stage.data.calls).not.toContain("endFeed");
      return { count: 2, total: 2 };
    });
    await target.recover(vm.as);
    expect(stage.data.calls.filter((call) => ["recover", "endFeed"].includes(call))).toEqual(["recover", "endFeed"]);
    expect(stage.events.filter(({ kind }) => kind === "handoff")).toHaveLength(1);
  });

  test("the handoff is said once", async () => {
    await loaded();
    const opened = { ...stage.state.opened, owner: "target", mode: "final", generation: generation(2) } as const;
    stage.set({ allPages: true, opened, promised: opened, begun: generation(2) });
    target.afterStep();
    target.afterStep();
    expect(stage.events.filter(({ kind }) => kind === "handoff")).toHaveLength(1);
    expect(stage.data.times("endFeed")).toBe(1);
    // What closes then was to close.
    target.feedClosed("end of the migration");
    expect(stage.lines.join()).not.toContain("connection is gone");
  });
});

describe("what is found when the agent comes again", () => {
  const host = { vm: "running", produced: 0, acked: 0 } as unknown as HostMemory;
  const remembered = { host, qemu: 1, machine: null };
  const source = { hasBase: false } as SourceSide;

  test("a QEMU that is gone is gone, one that is there is adopted and not touched", async () => {
    expect((await findAgain(stage.shell, source, remembered, null)).vm).toBe("gone");
    stage.onAdopt = () => stage.put();
    expect((await findAgain(stage.shell, source, remembered, null)).vm).toBe("running");
    expect(stage.vm?.said).toEqual([]);
  });

  test("half of one is removed", async () => {
    for (const [was, is] of [
      ["incoming", "gone"],
      ["loading", "gone"],
      ["restoring", "none"],
    ] as const) {
      const found = await findAgain(stage.shell, source, { ...remembered, host: { ...host, vm: was } }, null);
      expect(found.vm).toBe(is);
    }
    expect(stage.said).toEqual(["slot.remove", "slot.remove", "slot.remove"]);
  });

  test("one that is silent is asked again, is not ended, and runs on when it answers", async () => {
    const vm = stage.put();
    stage.set({ vm: "running" });
    vm.answers.set("query-status", (_, time) => {
      if (time <= 3) throw new Error("it does not answer");
      return time === 4 ? { status: "paused", running: false } : { status: "running", running: time > 5 };
    });
    await goOnWith(stage.shell, target, vm.as, 0.1);
    expect(vm.gone).toBe(false);
    expect(vm.times("cont")).toBe(2);
    expect(stage.lines).toHaveLength(3);
  });

  test("one that is silent in a migration is recovered once, not at every try", async () => {
    const vm = stage.put();
    vm.migration = "postcopy-paused";
    stage.set({ vm: "running" });
    let recovered = 0;
    vm.answers.set("query-status", (_, time) => {
      if (time === 1) throw new Error("it does not answer");
      return { status: "running", running: true };
    });
    const recover = async (): Promise<void> => {
      recovered += 1;
    };
    await goOnWith(stage.shell, { recover }, vm.as, 0.1);
    expect(recovered).toBe(1);
  });

  test("one that is not ours any more is let alone", async () => {
    const vm = stage.put();
    stage.set({ vm: "running" });
    vm.answers.set("query-status", () => {
      stage.set({ vm: "gone" });
      return { status: "paused", running: false };
    });
    await goOnWith(stage.shell, target, vm.as, 0.1);
    expect(vm.said).toEqual(["query-status"]);
  });
});

test("the gate lets out all that waited, however many frames that are", () => {
  const frames = Array.from({ length: 200_000 }, (_, i) => ({ number: i + 1, channel: 0, bytes: Buffer.of(1) }));
  const output = { ...stage.shell.output, frames: () => frames, released: () => undefined, age_ms: (n: number) => n };
  const shell = { ...stage.shell, output };
  const out: unknown[] = [];
  const control = { letOut: (_: number, let_out: readonly unknown[]) => void out.push(let_out.length) };
  performing({ shell, control, taker, target, life } as never).releaseOutput({
    kind: "releaseOutput",
    generation: generation(1),
    from: frameNumber(1),
    to: frameNumber(200_000),
  });
  expect(out).toEqual([200_000]);
  expect(stage.events.at(-1)).toMatchObject({ kind: "gate.released", n: 200_000, bytes: 200_000, waited_ms: 200_000 });
});

describe("the escrow's word of a record", () => {
  const header = { generation: generation(1), n: transactionNumber(2) };
  const store = async (answer: () => unknown): Promise<unknown[]> => {
    stage.data.on("store", answer);
    const rest = { shell: stage.shell, control: { letOut: () => undefined }, taker, target, life };
    performing(rest as never).storeRecord({ kind: "storeRecord", header: header as never });
    await stage.until("a word", () => stage.told.length > 0);
    return stage.told;
  };
  test.each([
    ["stored", { outcome: "stored", bytes: 1 }, "recordStored"],
    ["failed", { outcome: "failed", why: "ENOSPC" }, "recordFailed", "ENOSPC"],
    ["nothing to be stored", { outcome: "missing", why: "it is not here" }, "recordFailed", null],
    ["a violation", { outcome: "violation", why: "digest" }, "recordRefused", "digest"],
  ])("%s", async (_, outcome, kind, why?: string | null) => {
    expect(await store(() => outcome)).toMatchObject([{ kind, ...header, ...(why === undefined ? {} : { why }) }]);
    // A disk that is full is said by the core, once.
    expect(stage.lines).toHaveLength(kind === "recordStored" || why === "ENOSPC" ? 0 : 1);
  });
  test("an error of the data plane is one too: the core waits for it", async () => {
    expect(await store(() => Promise.reject(new Error("busy")))).toMatchObject([{ kind: "recordFailed", why: "busy" }]);
  });
});
