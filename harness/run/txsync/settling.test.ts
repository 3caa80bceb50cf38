import { describe, expect, it } from "vitest";
import { generation, SWITCHOVER, transactionNumber } from "../../txsync/core/index.ts";
import type { AgentStatus } from "./agent-client.ts";
import {
  givenUp,
  goesOnUnprotected,
  isProtectedAtSource,
  nobodyAfter_ms,
  type Statuses,
  settledAs,
  somebodyHas,
  tidy,
  waitsFor,
  waitsForPages,
} from "./settling.ts";
import { idle } from "./testing/statuses.ts";

const final = { ...SWITCHOVER, generation: generation(2), mode: "final" } as const;
const handedOff: AgentStatus = {
  ...idle,
  phase: "completed",
  vm: "running",
  owner: true,
  opened: final,
  migration: "completed",
};
const nobody: Statuses = { source: undefined, target: undefined, escrow: undefined };

describe("where the VM is, as the agents say", () => {
  it("is the target when it was handed off, and not before QEMU has completed", () => {
    expect(settledAs({ ...nobody, target: handedOff }, false)?.owner).toBe("target");
    expect(settledAs({ ...nobody, target: { ...handedOff, migration: "postcopy-active" } }, false)).toBeUndefined();
    expect(settledAs({ ...nobody, target: { ...handedOff, owner: false } }, false)).toBeUndefined();
    expect(settledAs({ ...nobody, target: { ...handedOff, opened: SWITCHOVER } }, false)).toBeUndefined();
  });

  it("is the source when it runs what it restored", () => {
    const basis = { claim: generation(2), n: transactionNumber(7) };
    const source: AgentStatus = {
      ...handedOff,
      migration: null,
      opened: { ...final, generation: generation(3), owner: "source", basis },
    };
    expect(settledAs({ ...nobody, source }, false)).toMatchObject({
      owner: "source",
      how: expect.stringContaining("transaction 7"),
    });
  });

  it("is where it is protected, and not while that host hears nobody: others may be taking it over", () => {
    const opened = { ...SWITCHOVER, generation: generation(2), owner: "source" } as const;
    const source: AgentStatus = {
      ...idle,
      vm: "running",
      owner: true,
      protect: true,
      protected: true,
      opened,
      hears: ["target", "escrow"],
    };
    expect(isProtectedAtSource({ ...nobody, source })).toBe(true);
    expect(settledAs({ ...nobody, source }, false)?.owner).toBe("source");
    const alone: Statuses = { source: { ...source, hears: [] }, target: { ...idle, vm: "restoring" }, escrow: idle };
    expect(isProtectedAtSource(alone)).toBe(false);
    expect(settledAs(alone, false)).toBeUndefined();
  });

  it("is nowhere when an agent says that it is lost, or nobody has had it for long", () => {
    expect(settledAs({ ...nobody, source: { ...idle, phase: "lost" } }, false)?.owner).toBe("none");
    expect(settledAs(nobody, false)).toBeUndefined();
    expect(settledAs(nobody, true)?.owner).toBe("none");
    expect(nobodyAfter_ms(5_000)).toBeGreaterThan(nobodyAfter_ms(500));
  });

  it("is where it was when the migration was given up", () => {
    const runs: AgentStatus = { ...idle, vm: "running", owner: true, qemu: 41, migration: "cancelled" };
    expect(givenUp({ ...nobody, source: runs })).toBe(true);
    expect(givenUp({ ...nobody, source: { ...runs, migration: "" } })).toBe(true);
    expect(givenUp({ ...nobody, source: { ...runs, phase: "precopy" } })).toBe(false);
    expect(givenUp(nobody)).toBe(false);
  });

  it("is not given up yet while QEMU stands behind its switchover, or is replaced by one that goes on from the package", () => {
    const runs: AgentStatus = { ...idle, vm: "running", owner: true, qemu: 41, migration: "cancelled" };
    expect(givenUp({ ...nobody, source: { ...runs, migration: "device" } })).toBe(false);
    expect(givenUp({ ...nobody, source: { ...runs, qemu: null, migration: null } })).toBe(false);
  });

  it("is somewhere as long as one runs, loads or restores it", () => {
    expect(somebodyHas({ ...nobody, target: { ...idle, vm: "loading" } })).toBe(true);
    expect(somebodyHas({ ...nobody, target: { ...idle, vm: "gone" }, source: idle })).toBe(false);
  });
});

describe("a target that waits for pages", () => {
  it("waits in vain while it reaches nobody who has them", () => {
    const waiting: AgentStatus = { ...idle, vm: "running", route: "none" };
    expect(waitsForPages({ ...nobody, target: waiting })).toBe(true);
    expect(waitsForPages({ ...nobody, target: { ...waiting, allPages: true } })).toBe(false);
    expect(waitsForPages({ ...nobody, target: { ...waiting, route: "escrow" } })).toBe(false);
    expect(waitsForPages(nobody)).toBe(false);
    // That it is to be protected afterwards too brings nobody back; one that was restored here lacks nothing.
    expect(waitsForPages({ ...nobody, target: { ...waiting, protect: true } })).toBe(true);
    const basis = { claim: generation(2), n: transactionNumber(7) };
    const restored = { ...final, generation: generation(3), basis };
    expect(waitsForPages({ ...nobody, target: { ...waiting, protect: true, opened: restored } })).toBe(false);
  });
});

describe("a VM that goes on unprotected", () => {
  const mode = "unprotected" as const;
  const target: AgentStatus = {
    ...idle,
    phase: "draining",
    vm: "running",
    owner: true,
    protect: true,
    allPages: true,
    opened: { ...SWITCHOVER, generation: generation(2), mode },
  };
  const whole: Statuses = { source: idle, target, escrow: idle };
  const all = (): boolean => true;
  const but = (dead: string) => (role: string) => role !== dead;

  it("is whole, is to be protected, and is not", () => {
    expect(goesOnUnprotected(whole, all)).toMatchObject({ role: "target", generation: 2, for_good: false });
    expect(goesOnUnprotected({ ...whole, target: { ...target, protected: true } }, all)).toBeUndefined();
    expect(goesOnUnprotected({ ...whole, target: { ...target, protect: false } }, all)).toBeUndefined();
    expect(goesOnUnprotected({ ...whole, target: { ...target, allPages: false } }, all)).toBeUndefined();
    expect(goesOnUnprotected({ ...whole, target: { ...target, owner: false } }, all)).toBeUndefined();
    expect(goesOnUnprotected({ ...whole, target: undefined, source: { ...target } }, all)?.role).toBe("source");
  });

  it("stays so where the escrow's host is dead, or the one whom another escrow has to hear", () => {
    expect(goesOnUnprotected(whole, but("source"))?.for_good).toBe(false);
    expect(goesOnUnprotected({ ...whole, escrow: undefined }, but("escrow"))).toMatchObject({
      for_good: true,
      lacks: "the escrow's host is dead",
    });
    const newcomer = { ...whole, escrow: { ...idle, letIn: false } };
    expect(goesOnUnprotected(newcomer, all)?.for_good).toBe(false);
    expect(goesOnUnprotected({ ...newcomer, source: undefined }, but("source"))).toMatchObject({
      for_good: true,
      lacks: expect.stringMatching(/another escrow .* the source's host is dead, and it never will$/),
    });
  });

  it("is said to wait for what it lacks", () => {
    const deaf: Statuses = { ...whole, target: { ...target, hears: ["source"] } };
    expect(waitsFor(deaf, goesOnUnprotected(deaf, all))).toBe(
      "the VM on target to be protected (the escrow is not heard)",
    );
  });
});

describe("what is waited for afterwards", () => {
  it("ends when whoever hears the owner has let go", () => {
    const source = { ...idle, hears: ["escrow"] } as const;
    expect(tidy({ ...nobody, target: handedOff, escrow: { ...idle, finished: true }, source }, "target")).toBe(true);
    expect(tidy({ ...nobody, target: handedOff, escrow: idle, source }, "target")).toBe(false);
  });
});

describe("what is waited for", () => {
  it("is said in words, whatever the agents are at", () => {
    const of = (change: Partial<Statuses>): string => waitsFor({ ...nobody, ...change });
    expect(of({})).toBe("somebody to have the VM");
    expect(of({ source: { ...idle, vm: "running" } })).toBe("the migration to switch over");
    expect(of({ target: { ...idle, vm: "loading" } })).toBe("the VM to run");
    expect(of({ target: { ...idle, vm: "running" } })).toBe("the target to have every page");
    expect(of({ target: { ...idle, vm: "running", allPages: true } })).toBe("the VM to be handed off");
    expect(of({ source: { ...idle, vm: "restoring" }, target: { ...idle, vm: "running" } })).toBe(
      "the VM to be restored",
    );
  });
});
