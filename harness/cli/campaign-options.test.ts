import { Command } from "commander";
import { expect, it } from "vitest";
import type { AccelChoice } from "../qemu/accel.ts";
import { settingsAsked } from "./campaign-options.ts";
import { Laboratory, requestOf } from "./laboratory.ts";
import { runMatrix } from "./matrix.ts";
import { declareRun, type RunFlags } from "./run.ts";

class NoEngine extends Laboratory {
  constructor() {
    super("nowhere", new AbortController().signal);
  }
  override async accel(): Promise<AccelChoice> {
    return { accel: "tcg", why: "a test" };
  }
}

const ASKED = {
  qemus: [{ source: "10.0", target: "10.0" }],
  guests: ["integrity"],
  accels: ["tcg"],
  memory_mib: 128,
  txsync: { epoch_ms: 50 },
} as const;

it("stock has a setting for each manager, and txsync one, for agents drive it", async () => {
  const settings = await settingsAsked(new NoEngine(), {
    ...ASKED,
    recoveries: ["stock", "txsync"],
    managers: ["none", "libvirt:resume"],
    manager_patience_ms: 9_000,
  });
  expect(settings.map(({ recovery, manager }) => [recovery, manager])).toEqual([
    ["stock", "none"],
    ["stock", "libvirt:resume"],
    ["txsync", undefined],
  ]);
  expect(settings.map(({ txsync }) => txsync)).toEqual([{}, {}, { epoch_ms: 50 }]);
  expect(settings.map((setting) => setting.manager_patience_ms)).toEqual([9_000, 9_000, undefined]);
});

it("a run of a campaign is driven by its manager, and its command says so", () => {
  const scenario = { id: "x", group: "g", title: "t", guests: [], faults: [], expect: { stock: "intact" } } as const;
  const job = {
    ...ASKED,
    qemus: ASKED.qemus[0],
    scenario,
    recovery: "stock",
    guest: "integrity",
    accel: "tcg",
  } as const;
  const request = (manager: object) => requestOf({ ...job, key: "k", seed: 1, migration: {}, ...manager } as never);
  expect(request({}).configuration).toBeUndefined();
  expect(request({ manager: "libvirt" }).configuration).toEqual({ manager: "libvirt" });
});

it("a manager without a stock migration is refused", async () => {
  const asked = { ...ASKED, recoveries: ["txsync"], managers: ["none"] } as const;
  await expect(settingsAsked(new NoEngine(), asked)).rejects.toThrow("goes with --recovery stock");
});

it("a matrix refuses what its model knows nothing of, instead of leaving it out", async () => {
  const command = declareRun(new Command()).exitOverride();
  command.parse(["--matrix", "--recovery", "stock", "--capability", "postcopy-preempt"], { from: "user" });
  const { signal } = new AbortController();
  await expect(runMatrix(command.opts<RunFlags>(), signal)).rejects.toThrow(
    "--capability postcopy-preempt cannot be had with --matrix",
  );
});
