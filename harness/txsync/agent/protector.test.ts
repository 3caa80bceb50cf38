import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { FindMode } from "../dirty/tracker.ts";
import { Management } from "./management.ts";
import { Protector } from "./protector.ts";
import { type ScriptedVm, Stage } from "./testing/stage.ts";
import type { TransactionTaker } from "./transaction-taker.ts";

const SMALL = { name: "pc.bios", content: Buffer.alloc(4096, 7) };
const BLOCKS = [
  { name: RAM_BLOCK, bytes: 1 << 20 },
  { name: SMALL.name, bytes: 4096 },
];

/** How QEMU's memory is tracked, as a test says. */
class ScriptedTaker {
  mode: FindMode | undefined = "quick";
  readonly said: string[] = [];
  followRunning = async (): Promise<FindMode | undefined> => {
    this.said.push("follow");
    return this.mode;
  };
  learn = (block: string): void => void this.said.push(`learn ${block}`);
  stop = (): void => void this.said.push("stop");
}

let stage: Stage;
let vm: ScriptedVm;
let taker: ScriptedTaker;
let protector: Protector;
beforeEach(() => {
  stage = new Stage("source");
  vm = stage.put("boot");
  vm.ram = BLOCKS.map((block) => ({ ...block, where: { kind: "file", path: stage.file("ram") } }) as const);
  vm.answers.set("qom-get", () => "pc-q35-10.0-machine");
  stage.set({ vm: "running", protect: true, base: "copying" });
  taker = new ScriptedTaker();
  protector = new Protector(stage.shell, taker as unknown as TransactionTaker, async () => {
    taker.said.push("read");
    return [SMALL];
  });
});
afterEach(() => {
  protector.stop();
  stage[Symbol.dispose]();
});

const offers = (): unknown[] => stage.data.asked.flatMap(([call, what]) => (call === "offerBase" ? [what] : []));

describe("protection of a VM that runs", () => {
  it("tracks first, reads then, and offers what has to be known to make the VM elsewhere", async () => {
    await protector.start();
    expect(taker.said).toEqual(["follow", "read"]);
    expect(offers()).toMatchObject([
      { machine: "pc-q35-10.0", blocks: BLOCKS, small: [SMALL], learn: false, serve: true },
    ]);
  });

  it("has the sure way learn what is read", async () => {
    taker.mode = "sure";
    await protector.start();
    expect(taker.said).toEqual(["follow", "read", `learn ${SMALL.name}`]);
    expect(offers()).toMatchObject([{ learn: true }]);
  });

  it("goes on after its agent came up again, with the same base, and sends nothing of it", async () => {
    await protector.start();
    stage.set({ base: "held" });
    await protector.resume();
    const [first, second] = offers() as { base: string }[];
    expect(second).toMatchObject({ base: first?.base, serve: false });
  });

  it("is not gone on with where nobody wants it, or another base is under way", async () => {
    await protector.start();
    await protector.resume();
    stage.set({ base: "held", protect: false });
    await protector.resume();
    expect(offers()).toHaveLength(1);
  });

  it("offers nothing of a QEMU that is not there any more", async () => {
    vm.answers.set("qom-get", () => {
      stage.vm = undefined;
      return "pc-q35-10.0-machine";
    });
    await protector.start();
    expect(offers()).toEqual([]);
  });
});

describe("whoever asks for protection", () => {
  const notPaused = { pausedByOthers: async () => undefined };
  const ask = (on: boolean): Promise<unknown> =>
    new Management(stage.shell, {} as never, {} as never, notPaused, () => undefined).answer({
      id: 1,
      do: "protect",
      on,
    });
  const peers = { host: "127.0.0.1", port: 1, bulk_port: 2 };

  it("is told that it takes three hosts, all of them heard", async () => {
    await expect(ask(true)).rejects.toThrow("takes three hosts: with two");
    Object.assign(stage.config, { peers: { target: peers, escrow: peers } });
    await expect(ask(true)).rejects.toThrow("target and escrow cannot be heard");
    stage.set({ heardTarget_ms: 0, heardEscrow_ms: 0 });
    await ask(true);
    expect(stage.told).toEqual([{ kind: "protect", on: true }]);
  });

  it("is told where there is nothing to protect, or it is being migrated", async () => {
    Object.assign(stage.config, { peers: { target: peers, escrow: peers } });
    stage.set({ heardTarget_ms: 0, heardEscrow_ms: 0, phase: "precopy" });
    await expect(ask(true)).rejects.toThrow("being migrated");
    stage.set({ vm: "none" });
    await expect(ask(true)).rejects.toThrow("no VM here");
    await ask(false);
    expect(stage.kinds).toEqual(["protect"]);
  });
});
