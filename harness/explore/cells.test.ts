import { describe, expect, it } from "vitest";
import { neverComes } from "../run/hopeless.ts";
import { checkScenario } from "../run/scenario-schema.ts";
import { STEP_NAMES, stepOf } from "../run/steps.ts";
import { cellsOf, scenarioOf, sliceOf } from "./cells.ts";
import { jobOf, seedOf, worldOf } from "./job.ts";
import { USUAL_WORLD } from "./model.ts";
import { reachableSteps } from "./reach.ts";
import { repertoire } from "./repertoire.ts";

const RECOVERIES = ["txsync", "stock"] as const;

describe.each(RECOVERIES)("the matrix under %s", (recovery) => {
  const cells = cellsOf(recovery);

  it("has every step that a run can be brought to, and of the others it is known that nobody knows a way", () => {
    const steps = new Set(cells.map(({ step }) => step));
    expect([...steps].sort()).toEqual([...reachableSteps(recovery)].sort());
    const left = STEP_NAMES.filter((step) => !steps.has(step) && ["both", recovery].includes(stepOf(step).under));
    expect(left).toEqual(
      recovery === "txsync" ? ["failed", "output-full", "output-room", "vote-pre-refused", "vote-refused"] : ["failed"],
    );
  });

  it("has every fault of the repertoire, and every kind of fault that there is but for what a person asks a monitor", () => {
    expect(new Set(cells.map(({ deed }) => deed.name)).size).toBe(repertoire(recovery).length);
  });

  it("is made of sound scenarios, each with a name of its own", () => {
    const world = { ...USUAL_WORLD, recovery };
    const scenarios = cells.map((cell) => scenarioOf(cell, world));
    for (const scenario of scenarios) {
      checkScenario(scenario, scenario.id);
      expect(neverComes(scenario.faults, recovery), scenario.id).toBeUndefined();
    }
    expect(new Set(scenarios.map(({ id }) => id)).size).toBe(cells.length);
  });

  it("strikes nothing that is dead already", () => {
    for (const { plans } of cells) {
      const dead = plans.slice(0, -1).flatMap(({ fault }) => (fault.fault === "kill-host" ? [fault.host] : []));
      const last = plans.at(-1)?.fault;
      if (last !== undefined && "host" in last) expect(dead).not.toContain(last.host);
    }
  });

  it("is cut into slices that each touch every step once, and together are all of it", () => {
    const most = repertoire(recovery).length;
    const seen = new Set<string>();
    for (let slice = 0; slice < most; slice += 1) {
      const part = sliceOf(cells, slice);
      expect(part.map(({ step }) => step)).toEqual(reachableSteps(recovery));
      for (const { step, deed } of part) seen.add(`${deed.name} ${step}`);
    }
    expect(seen.size).toBe(cells.length);
  });

  it("can be asked for in part", () => {
    const part = cellsOf(recovery, { steps: ["switchover", "precopy"], faults: ["kill-*"] });
    expect(new Set(part.map(({ step }) => step))).toEqual(new Set(["precopy", "switchover"]));
    expect(part.every(({ deed }) => deed.name.startsWith("kill-"))).toBe(true);
  });
});

it.each(["libvirt", "libvirt:resume"] as const)("under %s its daemons and their link are struck too", (manager) => {
  const cells = cellsOf("stock", {}, manager);
  const world = { ...USUAL_WORLD, recovery: "stock" as const, manager };
  for (const cell of cells) checkScenario(scenarioOf(cell, world), "drawn");
  const names = new Set(cells.map(({ deed }) => deed.name));
  expect(names.size).toBe(repertoire("stock", manager).length);
  expect([...names]).toEqual(
    expect.arrayContaining(["kill-daemon-target-1s", "kill-client-source", "cut-silent-libvirt"]),
  );
  expect(repertoire("stock").some(({ name }) => names.has(name) && name.includes("libvirt"))).toBe(false);
});

it("whoever resumes nothing comes to no recovery", () => {
  for (const manager of ["none", "libvirt"] as const)
    expect(reachableSteps("stock", manager)).not.toContain("recovering");
  for (const manager of ["qmp", "libvirt:resume"] as const)
    expect(reachableSteps("stock", manager)).toContain("recovering");
});

it("a job has the same key and the same seed on whatever machine it is made", () => {
  const setting = {
    recovery: "txsync" as const,
    guest: "integrity" as const,
    accel: "tcg" as const,
    qemus: { source: "7.2", target: "10.0" },
    memory_mib: 128,
    txsync: {},
  };
  const [cell] = cellsOf("txsync");
  if (cell === undefined) throw new Error("no cell");
  const make = (turn: number) => jobOf(scenarioOf(cell, worldOf(setting)), setting, 7, turn);
  expect(make(1)).toEqual(make(1));
  expect(make(1).key).toContain("7.2:10.0");
  expect(make(2).seed).not.toBe(make(1).seed);
  expect(seedOf(1, "a")).not.toBe(seedOf(2, "a"));
});
