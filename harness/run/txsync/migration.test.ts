import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { HostRole } from "../../base/timeline.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import { generation, SWITCHOVER } from "../../txsync/core/index.ts";
import type { Settled } from "../settled.ts";
import { Timeline } from "../timeline.ts";
import type { AgentStatus } from "./agent-client.ts";
import type { Agents } from "./agents.ts";
import { TxsyncMigration } from "./migration.ts";
import type { Statuses } from "./settling.ts";
import { idle } from "./testing/statuses.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-migration-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const runs: AgentStatus = { ...idle, phase: "draining", vm: "running", owner: true, opened: SWITCHOVER };
const final = { ...SWITCHOVER, generation: generation(2), mode: "final" } as const;
const done: AgentStatus = { ...runs, phase: "completed", opened: final, migration: "completed", allPages: true };
let files = 0;

/** Time goes a hundred times as fast: what is a matter of leases is over soon. */
class HurriedTimeline extends Timeline {
  override get now_ms(): number {
    return 100 * super.now_ms;
  }
}

/** Agents that say one after the other what is in the script; the last of it for ever. `onLook` is told of each look. */
async function migrate(
  script: readonly Statuses[],
  change: {
    readonly onLook?: (timeline: Timeline, look: number) => void;
    readonly faultsOver?: () => boolean;
    readonly due?: () => boolean;
    readonly healing?: () => boolean;
    readonly hurried_ms?: number;
    readonly up?: (role: HostRole) => boolean;
    /** What is left of the source's /dev/shm. */
    readonly free_bytes?: number;
    /** Whether an agent that is silent is being started again. */
    readonly comesBack?: (role: HostRole) => boolean;
    readonly prepareTarget?: () => Promise<void>;
  } = {},
): Promise<{ settled: Settled; timeline: Timeline; asked: number }> {
  const path = join(folder, `${files++}.ndjson`);
  const timeline = change.hurried_ms === undefined ? new Timeline(path) : new HurriedTimeline(path);
  let looks = 0;
  let asked = 0;
  const client = (role: HostRole) => ({
    connected: true,
    ask: async (what: { readonly do: string }) => {
      if (what.do === "migrate") asked += 1;
      if (what.do !== "status") return null;
      if (role === "source") {
        change.onLook?.(timeline, looks);
        looks += 1;
      }
      const said = script[Math.min(Math.floor(looks / 2), script.length - 1)]?.[role];
      if (said === undefined) throw new Error("silent");
      return said;
    },
  });
  const up = change.up ?? (() => true);
  const free = (role: HostRole): number => (role === "source" ? (change.free_bytes ?? 2 ** 20) : 2 ** 20);
  const fleet = {
    host: (role: HostRole) => ({
      up: up(role),
      run: async (command: string) => (command.includes("avail") ? `${free(role)}\n` : "0\n"),
    }),
  };
  const settled = await new TxsyncMigration({
    fleet: fleet as unknown as StartedFleet,
    agents: { client, comesBack: async (role: HostRole) => change.comesBack?.(role) ?? false } as unknown as Agents,
    memory_bytes: 2 ** 27,
    bytes_per_s: 1,
    timeline,
    patience_ms: change.hurried_ms ?? 500,
    lease_ms: 500,
    struck: () => false,
    prepareTarget: change.prepareTarget ?? (async () => undefined),
    faultsOver: change.faultsOver ?? (() => true),
    due: change.due ?? (() => false),
    healing: change.healing ?? (() => false),
  }).run();
  await timeline.close();
  return { settled, timeline, asked };
}

const pages = (pages_arrived: number, pages_total: number) =>
  ({
    kind: "migration.progress",
    transferred_bytes: 0,
    remaining_bytes: (pages_total - pages_arrived) * 4096,
    total_bytes: 0,
    pages_arrived,
    pages_total,
    pages_requested: 0,
  }) as const;

describe("the wait for the agents", () => {
  const arriving: Statuses = { source: idle, target: runs, escrow: idle };
  const handed: Statuses = { source: { ...idle, finished: true }, target: done, escrow: { ...idle, finished: true } };

  it("ends when they say where the VM is, and tells how often they were asked", async () => {
    const { settled, asked } = await migrate([arriving, handed]);
    expect(settled).toMatchObject({ owner: "target", tries: 1 });
    expect(asked).toBe(1);
  });

  describe("for a migration that was given up", () => {
    const source: AgentStatus = { ...idle, vm: "running", owner: true, qemu: 40 };
    const begun: Statuses = { source: { ...source, phase: "precopy" }, target: idle, escrow: idle };
    /** A QEMU waits there, of an attempt that never began. */
    const waits: Statuses = { source, target: { ...idle, vm: "none", qemu: 41 }, escrow: idle };
    const for_long = { hurried_ms: 3_600_000 };
    const long = (one: Statuses): Statuses[] => Array.from({ length: 40 }, () => one);

    it("asks again when the target's agent takes a QEMU, which it may refuse for a moment", async () => {
      let prepared = 0;
      const prepareTarget = async (): Promise<void> => {
        prepared += 1;
        if (prepared < 3) throw new Error("a QEMU is there already");
      };
      const { asked } = await migrate([begun, ...long(waits), handed], { ...for_long, prepareTarget });
      expect([asked > 1, prepared >= 3]).toEqual([true, true]);
    });

    it("asks for nothing where the target takes the VM over meanwhile", async () => {
      const prepareTarget = (): Promise<void> => Promise.reject(new Error("the VM is made again here"));
      const takesOver: Statuses = {
        source: { ...idle, vm: "gone" },
        target: { ...idle, vm: "restoring" },
        escrow: idle,
      };
      const script = [begun, ...long(waits), ...long(takesOver), handed];
      const { settled, asked } = await migrate(script, { ...for_long, prepareTarget });
      expect([settled.owner, asked]).toEqual(["target", 1]);
    });
  });

  it("is given up when nothing moves, and says what lacks its pages", async () => {
    const { settled } = await migrate([arriving], {
      onLook: (timeline, look) => {
        if (look === 0) timeline.emit("migration", pages(300, 1_000));
      },
    });
    expect(settled).toMatchObject({ owner: "none", arriving: { arrived: 300, total: 1_000 }, tries: 1 });
    expect(settled.how).toMatch(
      /^waited for the target to have every page: nothing has moved for 0.5 s, the last was: /,
    );
  });

  it("names the host that has no room left, where nobody has the VM", async () => {
    const { settled } = await migrate([arriving], { free_bytes: 8192 });
    expect(settled.how).toMatch(/; no space left on the source's \/dev\/shm$/);
    const had = await migrate([handed], { free_bytes: 8192 });
    expect(had.settled.how).not.toContain("space");
    const room = await migrate([arriving]);
    expect(room.settled.how).not.toContain("space");
  });

  it("lasts many times the patience while pages come", async () => {
    const { settled } = await migrate([...Array.from({ length: 15 }, () => arriving), handed], {
      onLook: (timeline, look) => timeline.emit("migration", pages(look, 1_000)),
    });
    expect(settled.owner).toBe("target");
  });

  it("does not last for ever where a guest goes on and nothing comes to its end", async () => {
    const protectedForEver: Statuses = { ...arriving, target: { ...runs, allPages: true } };
    const { settled } = await migrate([protectedForEver], {
      onLook: (timeline, look) =>
        timeline.emit("target", { kind: "guest.progress", host: "target", cpu: 0, step: look }),
    });
    expect(settled.how).toMatch(/waited for the VM to be handed off: .* nothing has come nearer to an end$/);
    expect(settled.arriving).toBeUndefined();
  });

  it("waits for an agent that is being started again, and until it has heard who has the VM", async () => {
    const away: Statuses = { ...handed, source: undefined };
    const deaf: Statuses = { ...handed, source: { ...runs, phase: "draining", owner: false, hears: [] } };
    const told: string[] = [];
    const told_at =
      (what: string) =>
      (role: HostRole): boolean => {
        if (role === "source") told.push(what);
        return true;
      };
    const { settled } = await migrate([away, away, away, deaf, deaf, deaf, handed], {
      comesBack: told_at("asked"),
      onLook: (_, look) => told.push(`look ${look}`),
    });
    expect(settled.owner).toBe("target");
    expect(told).toContain("asked");
    // Two looks a line of the script: those without an agent, and those of one that hears nobody, were all looked at.
    expect(told.filter((what) => what.startsWith("look")).length).toBeGreaterThanOrEqual(12);
  });

  it("does not wait for an agent that stays away, nor for one that is cut off for good", async () => {
    let looks = 0;
    const away = await migrate([{ ...handed, source: undefined }], { onLook: (_, look) => (looks = look) });
    expect(away.settled.owner).toBe("target");
    expect(looks).toBeLessThan(4);
    const deaf: Statuses = { ...handed, source: { ...runs, owner: false, hears: [] } };
    expect((await migrate([deaf], { hurried_ms: 5_000 })).settled.owner).toBe("target");
  });

  it("waits for faults that may still strike, and not for one that was given up", async () => {
    let over = false;
    const { timeline } = await migrate([handed], {
      faultsOver: () => over,
      onLook: (_, look) => {
        if (look === 4) over = true;
      },
    });
    expect(timeline.events.filter(({ kind }) => kind === "run.note")).toEqual([]);
    const vain = await migrate([handed], { faultsOver: () => false });
    expect(vain.settled.owner).toBe("target");
    expect(vain.timeline.events.flatMap((event) => (event.kind === "run.note" ? [event.text] : []))).toEqual([
      expect.stringContaining("waited for the faults to strike and to be healed: nothing has moved"),
    ]);
  });

  it("does not hold a VM that nobody has the pages of for a fault that is still to strike, only for one to be healed", async () => {
    const cut: Statuses = { source: undefined, target: { ...runs, route: "none" }, escrow: idle };
    const { settled } = await migrate([cut], { faultsOver: () => false, hurried_ms: 60_000 });
    expect(settled).toMatchObject({
      owner: "none",
      how: expect.stringMatching(/^the target waits for pages that nobody/),
    });
    const healing = await migrate([cut], { faultsOver: () => false, healing: () => true });
    expect(healing.settled.how).toMatch(/^waited for the target to have every page: /);
  });

  it("does not hold a protected VM that is lost for a fault that is still to strike", async () => {
    const lost: Statuses = { ...arriving, target: { ...done, protect: true, phase: "lost", vm: "gone" } };
    const { settled } = await migrate([lost], { faultsOver: () => false, hurried_ms: 60_000 });
    expect(settled.how).toBe("the agent on target says that the VM is lost");
  });

  it("does not take the word of a host that has died, or was cut off, in that moment", async () => {
    const opened = { ...SWITCHOVER, generation: generation(2), owner: "source" } as const;
    const keeps: AgentStatus = { ...runs, phase: "idle", opened, protect: true, protected: true, hears: ["escrow"] };
    const restores: AgentStatus = { ...idle, vm: "restoring" };
    const restored: AgentStatus = {
      ...runs,
      phase: "completed",
      opened: {
        ...opened,
        generation: generation(4),
        owner: "target",
        basis: { generation: generation(2), n: 7 } as never,
      },
      protect: true,
      protected: true,
      hears: ["escrow"],
      migration: "",
    };
    const kept: Statuses = { source: keeps, target: idle, escrow: idle };
    const taken: readonly Statuses[] = [
      { source: undefined, target: restores, escrow: idle },
      { source: undefined, target: restores, escrow: idle },
      { source: undefined, target: restored, escrow: idle },
    ];
    const { settled } = await migrate([kept, ...taken]);
    expect(settled.owner).toBe("target");
    // Nor the word that it gave while the moment of a fault had come, and its offset was many times as long as all patience.
    let looks = 0;
    const late = await migrate([...Array.from({ length: 40 }, () => kept), ...taken], {
      onLook: (_, look) => {
        looks = look;
      },
      hurried_ms: 20_000,
      due: () => looks < 80,
      faultsOver: () => looks >= 80,
    });
    expect(late.settled.owner).toBe("target");
  });

  it("ends where a VM goes on unprotected for good, and says what is missing", async () => {
    const opened = { ...SWITCHOVER, generation: generation(2), mode: "unprotected" } as const;
    const unprotected: Statuses = {
      source: undefined,
      target: { ...runs, allPages: true, protect: true, opened },
      escrow: { ...idle, letIn: false },
    };
    const onLook = (timeline: Timeline, look: number): void =>
      timeline.emit("target", { kind: "guest.progress", host: "target", cpu: 0, step: look });
    const alone = await migrate([unprotected], { onLook, hurried_ms: 3_600_000, up: (role) => role !== "source" });
    expect(alone.settled).toMatchObject({ owner: "target", how: "generation 2: whole on target, unprotected" });
    expect(alone.settled.unprotected).toMatch(/^another escrow .* is dead, and it never will$/);
    // Who may still be heard is waited for, as long as whatever goes on for ever.
    const heard = await migrate([unprotected], { onLook });
    expect(heard.settled).toMatchObject({ owner: "target", unprotected: expect.stringContaining("another escrow") });
    expect(heard.timeline.events.flatMap((event) => (event.kind === "run.note" ? [event.text] : []))).toEqual([
      expect.stringMatching(
        /^waited for the VM on target to be protected \(another escrow has come.*nearer to an end$/,
      ),
    ]);
  });
});
