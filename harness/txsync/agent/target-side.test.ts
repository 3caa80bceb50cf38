import { afterEach, beforeEach, expect, test } from "vitest";
import { savePackage } from "../data/index.ts";
import { TargetSide } from "./target-side.ts";
import { type ScriptedVm, Stage } from "./testing/stage.ts";

const TAKER = {
  follow: () => undefined,
  followRunning: async () => undefined,
  handOver: () => undefined,
  stop: () => undefined,
};
let stage: Stage;
let vm: ScriptedVm;
let waits: number[];
let target: TargetSide;
/** How many pages QEMU says that it has, one recovery after the other. */
let counts: number[];
let onWait: () => void;

beforeEach(() => {
  stage = new Stage("target");
  savePackage(stage.config.memory_folder, {
    package: {
      base: "0123456789abcdef",
      machine: "pc-q35-10.0",
      ram_section_id: 2,
      blocks: [],
      bytes_per_s: 1,
      preamble: Buffer.from("preamble"),
      packaged: Buffer.from("packaged"),
    },
    small: [],
  });
  vm = stage.put("incoming");
  vm.migration = "postcopy-paused";
  stage.set({ vm: "running" });
  waits = [];
  counts = [];
  onWait = () => undefined;
  stage.data.on("recover", () => ({ count: counts.shift() ?? 0, total: 100 }));
  target = new TargetSide(stage.shell, TAKER, async (wait_ms) => {
    waits.push(wait_ms);
    onWait();
  });
});
afterEach(() => stage[Symbol.dispose]());

test("a recovery is begun at once where the last one brought pages, and ever later where it brought none", async () => {
  counts = [1, 5, 5, 5, 5, 6, 6, 6];
  const waited: number[] = [];
  while (counts.length > 0) {
    await target.recover(vm.as);
    waited.push(waits.splice(0)[0] ?? 0);
  }
  expect(waited).toEqual([0, 0, 0, 25, 50, 100, 0, 25]);
  expect(stage.data.times("recover")).toBe(8);
});

test("however often it brings none, the next one comes", async () => {
  counts = Array.from({ length: 12 }, () => 5);
  for (let i = 0; i < 12; i += 1) await target.recover(vm.as);
  expect(Math.max(...waits)).toBe(500);
  expect(stage.data.times("recover")).toBe(12);
});

test("a QEMU that is gone meanwhile is not spoken to", async () => {
  counts = [5, 5, 5];
  for (let i = 0; i < 2; i += 1) await target.recover(vm.as);
  const { length } = vm.said;
  onWait = () => {
    stage.vm = undefined;
    vm.end();
  };
  await target.recover(vm.as);
  expect([vm.said.length, stage.told]).toEqual([length, []]);
});
