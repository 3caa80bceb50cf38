import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sample, shortened, VERSIONS } from "../../qemu/stream/testing.ts";
import { frameNumber, type HostMemory } from "../core/index.ts";
import { loadPackage } from "../data/index.ts";
import { packed } from "../data/testing/runs.ts";
import type { SmallBlock } from "../dirty/small-blocks.ts";
import { findAgain } from "./adoption.ts";
import { Restorer } from "./restorer.ts";
import { SourceSide } from "./source-side.ts";
import { TargetSide } from "./target-side.ts";
import { type ScriptedVm, Stage } from "./testing/stage.ts";
import { TransactionTaker } from "./transaction-taker.ts";
import { VmLife } from "./vm-life.ts";

/** Let out by the source, and not known to have arrived. */
const WAITING = [{ number: frameNumber(3), channel: 1, bytes: Buffer.from("under way") }];
function saysMore(): void {
  stage.produced = 3;
  stage.set({ gate: { ...stage.state.gate, acked: frameNumber(2), released: frameNumber(3) } });
  Object.assign(stage.shell.output, {
    frames: (from: number, to: number) => WAITING.filter(({ number }) => number >= from && number <= to),
  });
}

const SMALL: readonly SmallBlock[] = [];
const STREAM = shortened(sample(`post-copy-${VERSIONS[0]}.forward`));
let stage: Stage;
let vm: ScriptedVm;
let source: SourceSide;
let life: VmLife;
let readSmall: () => Promise<SmallBlock[]>;
const sockets: Socket[] = [];

beforeEach(() => {
  stage = new Stage("source");
  writeFileSync(stage.config.ram_path, "ram");
  vm = stage.put("boot");
  readSmall = async () => [...SMALL];
  make();
  stage.set({ phase: "precopy", attempt: 1, vm: "running" });
  vm.answers.set("migrate", ({ uri }) => {
    const socket = createConnection(String(uri).replace("unix:", ""));
    socket.on("error", () => undefined);
    sockets.push(socket);
    vm.becomes("active");
  });
  vm.answers.set("migrate-start-postcopy", () => void sockets.at(-1)?.write(STREAM));
  vm.answers.set("migrate_cancel", () => vm.becomes("cancelled"));
  vm.answers.set("query-status", () => ({ running: true, status: "running" }));
  stage.data.on("forgetBase", () => rmSync(source.base_path, { force: true }));
  stage.onStart = (_, started) => stage.loads(started);
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  stage[Symbol.dispose]();
});

/** @param runs_ms for so long QEMU is looked at until it runs */
function make(runs_ms = 20): void {
  source = new SourceSide(stage.shell, () => readSmall(), { runs_ms, again_ms: 1 });
  const taker = new TransactionTaker(stage.shell);
  life = new VmLife(stage.shell, source, new TargetSide(stage.shell, taker), new Restorer(stage.shell, 0.1), 0.1);
}
/** As the core does: what is given up in time is cancelled. */
function likeTheCore(): void {
  stage.onEvent = ({ kind }) => {
    if (kind !== "migrationFailed" && kind !== "packageReady") return;
    const ready = kind === "packageReady" && stage.state.phase === "precopy";
    if (ready || (kind === "migrationFailed" && stage.state.phase !== "precopy")) return;
    stage.set({ phase: "idle" });
    void life.cancel();
  };
}

describe("a migration out of QEMU", () => {
  test("ends with the package kept, QEMU frozen, and the base put aside", async () => {
    await source.migrate();
    expect(stage.kinds).toEqual(["packageReady"]);
    expect(vm.said).toContain("SIGSTOP");
    expect(vm.said).not.toContain("SIGCONT");
    expect([existsSync(stage.config.ram_path), readFileSync(source.base_path, "utf8")]).toEqual([false, "ram"]);
    expect(stage.data.calls).toEqual(["stopAhead", "haveBase"]);
    expect(vm.listeners).toBe(0);
    // Another life finds it.
    make();
    expect(source.hasBase).toBe(true);
    await source.findAgain();
    expect(stage.data.asked.at(-1)).toMatchObject(["haveBase", { compare: false }]);
  });

  test("takes along what may not have arrived of its output: nobody but who owns the VM lets it out again", async () => {
    saysMore();
    await source.migrate();
    expect(stage.told).toMatchObject([{ kind: "packageReady", mark: 3, acked: 2 }]);
    expect(source.kept?.package.frames).toEqual(WAITING);
  });

  test("QEMU refuses `migrate`: it runs on, and nothing was touched", async () => {
    vm.answers.set("migrate", () => Promise.reject(new Error("no such capability")));
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(stage.lines.join()).toContain("no such capability");
    expect(vm.said).not.toContain("SIGSTOP");
    expect(vm.listeners).toBe(0);
  });

  test("QEMU refuses `migrate-start-postcopy`: that is not waited for, and one word is sent in the next attempt", async () => {
    vm.answers.set("migrate-start-postcopy", (_, time) => {
      if (time === 1) throw new Error("postcopy must be enabled");
      sockets.at(-1)?.write(STREAM);
    });
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed", "packageReady"]);
    expect(vm.times("migrate-start-postcopy")).toBe(2);
  });

  test("does not get through its memory before it is told to switch over", async () => {
    const most: unknown[] = [];
    vm.answers.set("migrate-set-parameters", (parameters) => void most.push(parameters["max-bandwidth"]));
    await source.migrate();
    expect(most).toHaveLength(1);
    // Of 64 MiB of zeros, 9 bytes a page, no more than a fifth in a tenth of a second.
    expect(Number(most[0]) / 10).toBeLessThan((64 * 256 * 9) / 5);
    expect(vm.said.indexOf("migrate-set-parameters")).toBeLessThan(vm.said.indexOf("migrate"));
  });

  test.each(VERSIONS)(
    "QEMU %s switches over without post-copy: that is given up, and the VM runs on",
    async (version) => {
      let running = false;
      vm.answers.set("query-status", () => ({ running, status: running ? "running" : "finish-migrate" }));
      vm.answers.set("migrate_cancel", () => {
        running = true;
        vm.becomes("cancelled");
      });
      vm.answers.set("migrate-start-postcopy", () => {
        vm.becomes("device");
        sockets.at(-1)?.write(shortened(sample(`pre-copy-${version}.forward`)));
      });
      await source.migrate();
      expect(stage.kinds).toEqual(["migrationFailed"]);
      expect(stage.lines.join()).toContain("without post-copy");
      expect([vm.times("migrate_cancel"), vm.said.includes("SIGSTOP"), running]).toEqual([1, false, true]);
      expect(existsSync(stage.config.ram_path)).toBe(true);
    },
  );

  test.each(VERSIONS)("the package of QEMU %s is taken out of its stream", async (version) => {
    vm.answers.set("migrate-start-postcopy", () => {
      vm.becomes("device");
      sockets.at(-1)?.write(shortened(sample(`post-copy-${version}.forward`)));
    });
    await source.migrate();
    expect(stage.kinds).toEqual(["packageReady"]);
  });

  test.each(["cancelled", "failed", "completed"])("a migration that is %s is over", async (status) => {
    vm.answers.set("migrate-start-postcopy", () => vm.becomes(status));
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(vm.said).not.toContain("SIGSTOP");
  });

  test("QEMU dies in its middle", async () => {
    vm.answers.set("migrate-start-postcopy", () => vm.end());
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(stage.lines.join()).toContain("QEMU ended");
  });

  test("the stream ends before there is a package", async () => {
    vm.answers.set("migrate-start-postcopy", () => void sockets.at(-1)?.end(STREAM.subarray(0, 40)));
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(stage.lines.join()).toContain("closed its migration stream");
  });

  test("garbage instead of a stream", async () => {
    vm.answers.set("migrate-start-postcopy", () => void sockets.at(-1)?.write("this is no migration stream at all"));
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
  });

  test("small blocks that cannot be read: only what is seen to run is said to run on", async () => {
    readSmall = () => Promise.reject(new Error("ptrace is not permitted"));
    make(5_000);
    vm.answers.set("query-status", (_, time) => ({ running: time > 3, status: "paused" }));
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(vm.said.slice(vm.said.indexOf("SIGCONT"))).toEqual([
      "SIGCONT",
      "migrate_cancel",
      ...Array.from({ length: 4 }, () => ["cont", "query-status"]).flat(),
    ]);
    expect(readFileSync(stage.config.ram_path, "utf8")).toBe("ram");
  });

  test("one that ends instead of running on is gone, and is not said to run", async () => {
    readSmall = () => Promise.reject(new Error("ptrace is not permitted"));
    vm.answers.set("migrate_cancel", () => vm.end());
    await source.migrate();
    expect(stage.kinds).toEqual(["qemuGone"]);
    expect(stage.lines.join()).toContain("does not run on here");
  });

  test("a package that cannot be kept: the RAM is where it was, and the next attempt finds it", async () => {
    const place = join(stage.folder, "package.new");
    mkdirSync(place);
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(readFileSync(stage.config.ram_path, "utf8")).toBe("ram");
    expect(source.hasBase).toBe(false);
    rmSync(place, { recursive: true });
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed", "packageReady"]);
  });

  test("a data plane that does not take the base: the VM goes on from its package", async () => {
    likeTheCore();
    stage.data.on("haveBase", () => Promise.reject(new Error("no memory")));
    await source.migrate();
    await life.cancel();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(stage.vms).toHaveLength(2);
    expect(stage.vm?.said.at(-1)).toBe("query-status");
    expect(stage.data.calls.at(-1)).toBe("forgetBase");
  });

  test("... also where it was given up meanwhile", async () => {
    likeTheCore();
    stage.data.on("haveBase", async () => {
      stage.set({ phase: "idle" });
      throw new Error("no memory");
    });
    await source.migrate();
    await life.cancel();
    expect(stage.kinds).toEqual(["packageReady"]);
    expect(stage.vm?.said.at(-1)).toBe("query-status");
  });
});

describe("a migration that is given up", () => {
  /** The core gives it up at this command of QEMU or call of the data plane. */
  const MOMENTS = [
    "copyAhead",
    "migrate-set-capabilities",
    "migrate-set-parameters",
    "migrate",
    "migrate-start-postcopy",
    "stopAhead",
    "haveBase",
  ];
  test.each(MOMENTS)("at %s leaves the VM running on here", async (moment) => {
    Object.assign(stage.config, { base_ahead: 0.5 });
    likeTheCore();
    const cancelling: Promise<void>[] = [];
    const give_up = (): void => {
      stage.set({ phase: "idle" });
      cancelling.push(life.cancel());
    };
    stage.data.on("copyAhead", () => ({ share: 0.5 }));
    const before = vm.answers.get(moment);
    const before_data = stage.data.answers.get(moment as "stopAhead");
    if (["copyAhead", "stopAhead", "haveBase"].includes(moment))
      stage.data.on(moment as "stopAhead", (what) => {
        give_up();
        return before_data?.(what as never, 1);
      });
    else
      vm.answers.set(moment, (args, time) => {
        give_up();
        return before?.(args, time);
      });
    await source.migrate();
    await Promise.all(cancelling);
    await life.cancel();
    expect(stage.state.phase).toBe("idle");
    expect(stage.kinds).not.toContain("qemuGone");
    const now = stage.vm as ScriptedVm;
    expect(now.gone).toBe(false);
    const frozen = now.said.lastIndexOf("SIGSTOP") > now.said.lastIndexOf("SIGCONT");
    expect(frozen).toBe(false);
    // In this QEMU, which was never stopped, or in another one on its memory, which runs.
    if (now !== vm) expect(now.said.at(-1)).toBe("query-status");
    else expect(["", "cancelled"]).toContain(now.migration);
  });

  test("a QEMU that does not answer at once is asked again, and nobody ends it", async () => {
    vm.migration = "active";
    vm.answers.set("query-status", (_, time) => {
      if (time === 1) throw new Error("busy");
      return { running: true, status: "running" };
    });
    vm.attaching = Promise.reject(new Error("the monitor does not answer"));
    vm.attaching.catch(() => undefined);
    const cancelled = life.cancel();
    await stage.until("the word", () => stage.lines.length > 0);
    expect(vm.gone).toBe(false);
    vm.attaching = Promise.resolve();
    await cancelled;
    expect(stage.kinds).toEqual([]);
    expect(vm.said).toContain("migrate_cancel");
  });

  test("a QEMU that was left paused behind a switchover has its VM taken out of it", async () => {
    vm.migration = "postcopy-paused";
    vm.answers.set("xen-save-devices-state", ({ filename }) => writeFileSync(String(filename), "no device state"));
    vm.answers.set("qom-get", () => "pc-q35-10.0-machine");
    Object.assign(stage.config, { pagescan: "/bin/false" });
    const cancelled = life.cancel();
    // It cannot be: pagescan does not work here. Then it is said, and tried for as long as that QEMU is there.
    await stage.until("the word", () => stage.lines.length > 0);
    expect(stage.lines[0]).toContain("has not given the migration up");
    vm.end();
    await cancelled;
    expect(stage.kinds).toEqual(["qemuGone"]);
  });
});

describe("the VM goes on from its package", () => {
  beforeEach(async () => {
    await source.migrate();
    stage.told.splice(0);
    stage.set({ phase: "idle" });
  });

  test("a QEMU that does not start is not its end", async () => {
    let starts = 0;
    stage.onStart = (_, started) => {
      starts += 1;
      if (starts < 3) throw new Error("QEMU ended at once");
      stage.loads(started);
    };
    await life.cancel();
    expect(stage.kinds).toEqual([]);
    expect(stage.vm?.said.at(-1)).toBe("query-status");
    expect(stage.lines).toHaveLength(2);
  });

  test("three that do not are, and the base is kept", async () => {
    stage.onStart = () => {
      throw new Error("QEMU ended at once");
    };
    await life.cancel();
    expect(stage.kinds).toEqual(["qemuGone"]);
    expect(existsSync(source.base_path)).toBe(true);
    expect(stage.data.calls).not.toContain("forgetBase");
  });

  test("from `cont` on it is that QEMU's, and no other one is made", async () => {
    stage.onStart = (_, started) => {
      stage.loads(started);
      started.answers.set("cont", () => {
        started.end();
      });
    };
    await life.cancel();
    expect(stage.kinds).toEqual(["qemuGone"]);
    expect(stage.vms).toHaveLength(2);
  });

  test("what the data plane cannot forget is no end of the VM", async () => {
    stage.data.on("forgetBase", () => Promise.reject(new Error("busy")));
    await life.cancel();
    expect(stage.kinds).toEqual([]);
    expect(stage.lines).toEqual(["busy"]);
  });
});

describe("a QEMU that stands by", () => {
  test("comes again when it ends, so often and no more", async () => {
    await source.migrate();
    await stage.vm?.kill();
    stage.set({ vm: "none" });
    stage.vm = undefined;
    await source.startServing();
    expect(stage.vm).toBeDefined();
    for (let i = 0; i < 8; i += 1) {
      const now = stage.vm as ScriptedVm | undefined;
      if (now === undefined) break;
      const so_far = stage.vms.length;
      now.end();
      stage.vm = undefined;
      life.gone(now.as);
      if (i < 5) await stage.until("another one", () => stage.vms.length > so_far);
    }
    expect(stage.lines.join()).toContain("no QEMU stands by any more");
    expect(stage.vms).toHaveLength(7);
  });

  test("that does not start is said, and nothing hangs on it", async () => {
    await source.migrate();
    stage.set({ vm: "none" });
    stage.vm = undefined;
    stage.onStart = () => {
      throw new Error("no room");
    };
    await source.startServing();
    expect(stage.lines.join()).toContain("no QEMU stands by: no room");
  });
});

test("nothing is laid over the base before a committed transaction is known, once", async () => {
  await source.migrate();
  stage.set({ phase: "switchover", vm: "none" });
  source.afterStep();
  expect(stage.data.calls).not.toContain("mayLayOver");
  stage.set({ peerTarget: { committed: 1 } as never });
  source.afterStep();
  source.afterStep();
  expect(stage.data.calls.filter((call) => call === "mayLayOver")).toHaveLength(1);
});

test.each(["restoring", "ready", "running"] as const)(
  "nothing is laid over a base that is the memory of a VM that is %s here, as another life of the agent finds it",
  async (state) => {
    await source.migrate();
    make();
    stage.set({ phase: "draining", vm: state, peerTarget: { committed: 1 } as never });
    source.afterStep();
    expect(stage.data.calls).not.toContain("mayLayOver");
    // It came to nothing.
    stage.set({ vm: "none" });
    source.afterStep();
    expect(stage.data.times("mayLayOver")).toBe(1);
  },
);

describe("a migration by the agents", () => {
  const AHEAD = { tracked: true, rounds: 2, sent_pages: 9, sent_bytes: 9, left_pages: 1 } as const;
  const FINISHED = { ahead: { base: "a", stale: packed({ ram0: [[3, 1]] }) }, small: [], stale_pages: 1 } as const;

  beforeEach(() => {
    stage[Symbol.dispose]();
    stage = new Stage("source", { switchover_by: "agent", base_ahead: 0.75, base_ahead_ms: 100 });
    writeFileSync(stage.config.ram_path, "ram");
    vm = stage.put("boot");
    make();
    stage.set({ phase: "precopy", attempt: 1, vm: "running" });
    vm.answers.set("qom-get", () => "pc-q35-10.0-machine");
    vm.answers.set("xen-save-devices-state", ({ filename }) =>
      writeFileSync(String(filename), Buffer.from("5145564d0000000300", "hex")),
    );
    stage.data.on("pushAhead", () => AHEAD);
    stage.data.on("finishAhead", () => FINISHED);
    stage.data.on("forgetBase", () => rmSync(source.base_path, { force: true }));
    stage.onStart = (_, started) => stage.loads(started);
  });

  async function givenUpWhenPackaged(): Promise<void> {
    stage.onEvent = ({ kind }) => {
      if (kind !== "packageReady") return;
      stage.set({ phase: "idle" });
      void life.cancel();
    };
    await source.migrate();
  }

  test("ends with QEMU paused, frozen and whole, which never migrated, and its package kept", async () => {
    await source.migrate();
    expect(stage.kinds).toEqual(["packageReady"]);
    const asks = ["qom-get", "query-status"];
    expect(vm.said.filter((word) => !asks.includes(word))).toEqual(["stop", "xen-save-devices-state", "SIGSTOP"]);
    expect(source.paused).toBe(vm);
    expect(source.kept?.package).toMatchObject({ machine: "pc-q35-10.0", ahead: FINISHED.ahead });
    expect([stage.config.ram_path, source.base_path].map((path) => readFileSync(path, "utf8"))).toEqual(["ram", "ram"]);
    expect(stage.data.calls).toEqual(["pushAhead", "finishAhead", "haveBase"]);
    // None stands by yet: the VM can go on where it was.
    await source.startServing();
    expect(stage.vm).toBe(vm);
  });

  test("takes along what may not have arrived of its output", async () => {
    saysMore();
    await source.migrate();
    expect(stage.told).toMatchObject([{ kind: "packageReady", mark: 3, acked: 2 }]);
    expect(source.kept?.package.frames).toEqual(WAITING);
  });

  test("given up after that, the VM goes on where it was: nothing is restored", async () => {
    await givenUpWhenPackaged();
    await stage.until("the VM to go on", () => stage.data.calls.includes("forgetBase"));
    expect(stage.vm).toBe(vm);
    expect(vm.said.at(-2)).toBe("cont");
    expect(stage.said).toEqual([]);
  });

  test("given up after that, a QEMU that does not answer for a while is asked again, and nobody ends it", async () => {
    let silent = 60;
    vm.answers.set("cont", () => {
      silent -= 1;
      if (silent >= 0) throw new Error("no answer");
    });
    await givenUpWhenPackaged();
    await stage.until("the VM to go on", () => stage.data.calls.includes("forgetBase"));
    expect([stage.vm, stage.said]).toEqual([vm, []]);
    expect(stage.data.calls).not.toContain("restorePackage");
  });

  test("given up after that, a QEMU that ends once it was told to go on is not made again of an older state", async () => {
    vm.answers.set("cont", () => {
      vm.end();
      throw new Error("it ended");
    });
    await givenUpWhenPackaged();
    await stage.until("its end to be told", () => stage.kinds.includes("qemuGone"));
    expect(stage.vms).toEqual([vm]);
    expect(loadPackage(stage.config.memory_folder)).toBeUndefined();
  });

  test("a next life of the agent has no package of a QEMU that was told to go on, or of an attempt before", async () => {
    await source.migrate();
    expect(loadPackage(stage.config.memory_folder)).toBeDefined();
    const seen: boolean[] = [];
    vm.answers.set("cont", () => void seen.push(loadPackage(stage.config.memory_folder) === undefined));
    expect(await source.goOn()).toBe(true);
    expect(seen).toEqual([true]);
    await source.migrate();
    await source.forgetBase();
    expect(loadPackage(stage.config.memory_folder)).toBeUndefined();
  });

  describe("when its agent ends before anybody was promised the package", () => {
    const again = (qemu = 1): Promise<HostMemory> => {
      const host = { vm: "none", produced: 0, acked: 0, hasBase: true, hasPackage: true } as unknown as HostMemory;
      return findAgain(stage.shell, new SourceSide(stage.shell), { host, qemu, machine: null }, null);
    };

    test("the VM goes on in the QEMU that stands still, and nothing is made of the package", async () => {
      await source.migrate();
      stage.onAdopt = () => vm;
      expect(await again()).toMatchObject({ vm: "running", hasPackage: false });
      expect([stage.said.includes("slot.remove"), existsSync(source.base_path)]).toEqual([false, false]);
      expect(loadPackage(stage.config.memory_folder)).toBeUndefined();
    });

    test("it is made of the package where another QEMU was begun since, which is half made of it", async () => {
      await source.migrate();
      stage.onAdopt = () => stage.put("standby");
      expect(await again(2)).toMatchObject({ vm: "running", hasPackage: true });
      expect([stage.said.includes("slot.adopt"), stage.said.includes("slot.remove")]).toEqual([false, true]);
      expect(loadPackage(stage.config.memory_folder)).toBeDefined();
    });

    test("it is made of the package where that QEMU is gone", async () => {
      await source.migrate();
      stage.onAdopt = () => undefined;
      expect(await again()).toMatchObject({ vm: "running", hasPackage: true });
      expect(existsSync(source.base_path)).toBe(true);
    });
  });

  test("a package that is more than can be sent is told before anybody is promised it: the VM runs on", async () => {
    stage.data.on("finishAhead", () => ({
      ...FINISHED,
      small: [],
      ahead: { base: "a", frames: 0, stale: packed({ ram0: [[3, 1]] }) },
    }));
    vm.answers.set("xen-save-devices-state", ({ filename }) =>
      writeFileSync(
        String(filename),
        Buffer.concat([Buffer.from("5145564d0000000300", "hex"), Buffer.alloc(9 * 2 ** 20)]),
      ),
    );
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(source.hasBase).toBe(false);
    expect(vm.said).toContain("cont");
  });

  test("storage that is silent at switchover: its QEMU is asked again for as long as it lives, and not ended", async () => {
    let silent = 60;
    const answer = (): void => {
      if (vm.times("stop") > 0) silent -= 1;
      if (vm.times("stop") > 0 && silent >= 0) throw new Error("no answer");
    };
    vm.answers.set("stop", () => Promise.reject(new Error("no answer")));
    vm.answers.set("cont", answer);
    vm.answers.set("query-status", () => {
      answer();
      return { running: true, status: "running" };
    });
    await source.migrate();
    expect([stage.kinds, stage.vm, stage.said]).toEqual([["migrationFailed"], vm, []]);
    expect(vm.said).not.toContain("SIGKILL");
    expect(silent).toBeLessThan(0);
  });

  test("storage that is back when its QEMU is looked at: it is told to run once more, and not ended", async () => {
    let runs = false;
    vm.answers.set("stop", () => Promise.reject(new Error("no answer")));
    vm.answers.set("cont", () => {
      if (!runs) throw new Error("no answer");
    });
    // What it had been told before it does when it answers again.
    vm.answers.set("query-status", () => {
      runs ||= vm.times("stop") > 0 && vm.times("cont") > 0;
      return { running: runs, status: "running" };
    });
    await source.migrate();
    expect([stage.kinds, stage.vm, stage.said]).toEqual([["migrationFailed"], vm, []]);
  });

  test("a word for a QEMU that is silent, of an attempt before, does not come into the middle of the next one", async () => {
    let silent = true;
    vm.answers.set("stop", () => Promise.reject(new Error("no answer")));
    vm.answers.set("cont", () => {
      if (silent) throw new Error("no answer");
    });
    vm.answers.set("query-status", () => {
      if (vm.times("stop") > 0 && silent) throw new Error("no answer");
      return { running: true, status: "running" };
    });
    const first = source.migrate();
    await stage.until("it to be asked again", () => vm.times("cont") > 8);
    stage.set({ phase: "precopy", attempt: 2 });
    const asked = stage.data.times("pushAhead");
    const second = source.migrate();
    await stage.until("it to be asked once more", () => vm.times("cont") > 16);
    expect(stage.data.times("pushAhead")).toBe(asked);
    silent = false;
    await Promise.all([first, second]);
    expect(stage.data.times("pushAhead")).toBe(asked + 1);
  });

  test("the failure of an attempt that was given up does not end the next one", async () => {
    stage.data.on("pushAhead", () => {
      stage.set({ phase: "precopy", attempt: 2 });
      return Promise.reject(new Error("the target is gone"));
    });
    await source.migrate();
    expect(stage.kinds).toEqual([]);
  });

  test("once something was committed one that stands by takes its place, before anything is laid over the base", async () => {
    await source.migrate();
    stage.set({ phase: "switchover", vm: "none", peerTarget: { committed: 1 } as never });
    source.afterStep();
    expect(source.paused).toBeUndefined();
    await stage.until("what is committed to be laid over", () => stage.data.calls.includes("mayLayOver"));
    expect([vm.said.at(-1), stage.vm?.started_as]).toEqual(["SIGKILL", "standby"]);
    source.afterStep();
    expect(stage.data.times("mayLayOver")).toBe(1);
  });

  test("nothing is laid over the base that became the memory of a VM meanwhile", async () => {
    await source.migrate();
    stage.set({ phase: "switchover", vm: "none", peerTarget: { committed: 1 } as never });
    const started = new Promise<void>((resolve) => {
      stage.onStart = (_, vm) => {
        stage.loads(vm);
        stage.set({ vm: "restoring" });
        resolve();
      };
    });
    source.afterStep();
    await started;
    await stage.until("one that stands by", () => stage.vm?.started_as === "standby");
    expect(stage.data.calls).not.toContain("mayLayOver");
    // It came to nothing.
    stage.set({ vm: "none" });
    await stage.until("what is committed to be laid over", () => {
      source.afterStep();
      return stage.data.calls.includes("mayLayOver");
    });
    expect(stage.data.times("mayLayOver")).toBe(1);
  });

  test.each([
    [
      "memory cannot be copied",
      () => stage.data.on("pushAhead", () => Promise.reject(new Error("the target is gone"))),
    ],
    ["the last look fails", () => stage.data.on("finishAhead", () => Promise.reject(new Error("pagescan has ended")))],
    [
      "its device state is not saved",
      () => vm.answers.set("xen-save-devices-state", () => Promise.reject(new Error("no room"))),
    ],
    ["it does not stop", () => vm.answers.set("stop", () => Promise.reject(new Error("no answer")))],
  ])("%s: it runs on in its QEMU, and that is told", async (_, fails) => {
    fails();
    await source.migrate();
    expect(stage.kinds).toEqual(["migrationFailed"]);
    expect(stage.data.calls).toContain("giveUpAhead");
    expect(stage.vm).toBe(vm);
    expect(vm.said.includes("stop")).toBe(vm.said.includes("cont"));
    expect([existsSync(stage.config.ram_path), existsSync(source.base_path)]).toEqual([true, false]);
  });

  test("paused by its operator it stays, and stays paused", async () => {
    vm.answers.set("query-status", () => ({ running: false, status: "paused" }));
    await source.migrate();
    expect([stage.kinds, vm.said]).toEqual([["migrationFailed"], ["query-status"]]);
    expect(stage.lines.join()).toContain("let it run first");
  });

  test("not wanted any more when memory is there: nothing is stopped", async () => {
    stage.data.on("pushAhead", () => {
      stage.set({ phase: "idle" });
      return AHEAD;
    });
    await source.migrate();
    expect(stage.kinds).toEqual([]);
    expect(vm.said).not.toContain("stop");
    expect(stage.data.calls).toEqual(["pushAhead", "giveUpAhead"]);
  });

  test("pages that cannot be tracked: QEMU itself migrates, and it is said why", async () => {
    stage.data.on("pushAhead", () => ({ tracked: false, why: "Linux 6.7 has it" }));
    stage.data.on("copyAhead", () => ({ share: 1 }));
    vm.answers.set("migrate", () => Promise.reject(new Error("refused")));
    await source.migrate();
    expect(vm.said).toContain("migrate");
    expect(stage.events).toContainEqual({
      kind: "run.note",
      text: "QEMU itself switches over: its pages cannot be tracked (Linux 6.7 has it)",
    });
  });

  test("a claim from the package goes on in that QEMU as well, unless something was laid over its memory", async () => {
    await source.migrate();
    stage.set({ phase: "switchover", vm: "restoring" });
    const claim = { kind: "startRestore", generation: 3, n: 0, from: "package" } as never;
    await life.restore(claim);
    expect(stage.kinds.at(-1)).toBe("restoreReady");
    expect([stage.vm, stage.said]).toEqual([vm, []]);
    stage.data.on("restorePackage", () => Promise.reject(new Error("laid over")));
    await life.restore(claim);
    expect(stage.kinds.at(-1)).toBe("restoreFailed");
  });
});
