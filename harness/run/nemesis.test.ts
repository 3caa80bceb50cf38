import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import type { HostRole, ProtocolStep, TimelineEvent } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { FaultContext } from "../faults/index.ts";
import { Nemesis } from "./nemesis.ts";
import type { FaultPlan, Trigger } from "./scenario.ts";
import { Timeline } from "./timeline.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-nemesis-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KILL = { fault: "kill-process", host: "source", process: "qemu" } as const;
const FREEZE = { fault: "freeze-process", host: "target", process: "qemu" } as const;
const at = (step: ProtocolStep): Trigger => ({ on: "step", step });

let files = 0;
const running: { readonly nemesis: Nemesis; readonly timeline: Timeline }[] = [];
afterEach(async () => {
  for (const { nemesis, timeline } of running.splice(0)) {
    await nemesis.stop();
    await timeline.close();
  }
});

/** A nemesis over hosts that only write down what they are told to run. */
function unleash(plans: readonly FaultPlan[], without: readonly HostRole[] = []) {
  const timeline = new Timeline(join(folder, `${files++}.ndjson`));
  const commands: string[] = [];
  const host = (role: HostRole) => ({ run: async (command: string) => commands.push(`${role}: ${command}`) });
  const splitLink = async (name: string) => commands.push(`split ${name}`);
  const context = { fleet: { host, splitLink }, pid: (role: HostRole) => (without.includes(role) ? undefined : 42) };
  const nemesis = new Nemesis(plans, timeline, context as unknown as FaultContext);
  running.push({ nemesis, timeline });
  const faults = (): string[] =>
    timeline.events.filter(({ lane }) => lane === "fault").map((event) => `${event.kind} ${idOf(event)}`);
  const step = (name: ProtocolStep): void => timeline.emit("migration", { kind: "migration.step", step: name });
  const done = (): Promise<unknown> =>
    waitFor({ what: "the nemesis to be done", timeout_ms: 5_000 }, () => (nemesis.done ? true : undefined));
  return { nemesis, timeline, commands, faults, step, done };
}

function idOf(event: TimelineEvent): string {
  return "id" in event ? event.id : "";
}

describe("nemesis", () => {
  it("strikes when the trigger fires, not before", async () => {
    const { commands, faults, step, done } = unleash([{ fault: KILL, at: at("switchover") }]);
    step("precopy");
    expect(faults()).toEqual([]);
    step("switchover");
    await done();
    expect(commands).toEqual(["source: kill -9 42"]);
    expect(faults()).toEqual(["fault.injected fault-0"]);
  });

  it("is waited for where the moment of a fault has come and its offset is not over, and only there", async () => {
    const later = { fault: KILL, at: { on: "step", step: "completed", after_ms: 50 } } as const;
    const then = { fault: FREEZE, at: { on: "fault", index: 0, after_ms: 10 } } as const;
    const { nemesis, commands, step } = unleash([later, then]);
    await nemesis.dueStruck(AbortSignal.abort());
    step("completed");
    expect(commands).toEqual([]);
    await nemesis.dueStruck(new AbortController().signal);
    expect(commands).toEqual(["source: kill -9 42", "target: kill -STOP 42"]);
  });

  it("is not waited for any longer by a run that is interrupted", async () => {
    const later = { fault: KILL, at: { on: "step", step: "completed", after_ms: 3_600_000 } } as const;
    const { nemesis, commands, step } = unleash([later]);
    step("completed");
    const interrupt = new AbortController();
    const waited = nemesis.dueStruck(interrupt.signal);
    interrupt.abort(new Error("interrupted"));
    await expect(waited).rejects.toThrow("interrupted");
    expect(commands).toEqual([]);
  });

  it("puts in place what its faults need before anything happens", async () => {
    const one = { fault: "cut-reset", link: "source-target", connection: 2 } as const;
    const { nemesis, commands, faults } = unleash([
      { fault: KILL, at: at("switchover") },
      { fault: one, at: at("completing") },
    ]);
    await nemesis.prepare();
    expect(commands).toEqual(["split source-target"]);
    expect(faults()).toEqual([]);
  });

  it("strikes at a step only once another fault has struck, where it is told so", async () => {
    const second = { fault: FREEZE, at: { on: "step", step: "recovering", since: 0 } } as const;
    const { commands, step, done } = unleash([{ fault: KILL, at: at("switchover") }, second]);
    step("recovering");
    step("switchover");
    await waitFor({ what: "the first", timeout_ms: 5_000 }, () => (commands.length === 1 ? true : undefined));
    step("recovering");
    await done();
    expect(commands).toEqual(["source: kill -9 42", "target: kill -STOP 42"]);
  });

  it("strikes once though its trigger fires again and again", async () => {
    const { commands, step, done } = unleash([{ fault: KILL, at: at("postcopy-paused") }]);
    step("postcopy-paused");
    step("postcopy-paused");
    await done();
    step("postcopy-paused");
    expect(commands).toHaveLength(1);
  });

  it("heals when the trigger for that fires, after it was broken", async () => {
    const plan = { fault: FREEZE, at: at("switchover"), heal: { on: "fault", index: 0, after_ms: 1 } } as const;
    const { commands, faults, step, done } = unleash([plan]);
    step("switchover");
    await done();
    expect(commands).toEqual([expect.stringContaining("target: kill -STOP 42"), expect.stringContaining("-CONT 42")]);
    expect(faults()).toEqual(["fault.injected fault-0", "fault.healed fault-0"]);
  });

  it("heals on what another fault has come to before: it struck, or was healed, and that stays so", async () => {
    const { faults, step, done } = unleash([
      { fault: FREEZE, at: at("switchover"), heal: { on: "fault", index: 0, after_ms: 1 } },
      { fault: FREEZE, at: at("completing"), heal: { on: "fault", index: 0, after_ms: 1 } },
      { fault: FREEZE, at: at("completed"), heal: { on: "healed", index: 0 } },
      { fault: FREEZE, at: at("completing"), heal: { on: "step", step: "recovering", since: 0 } },
    ]);
    step("switchover");
    const healed = (id: string) =>
      waitFor({ what: `${id} to be healed`, timeout_ms: 5_000 }, () =>
        faults().includes(`fault.healed ${id}`) ? true : undefined,
      );
    await healed("fault-0");
    step("completing");
    await healed("fault-1");
    step("recovering");
    await healed("fault-3");
    step("completed");
    await done();
    expect(faults().filter((one) => one.startsWith("fault.failed"))).toEqual([]);
    expect(faults().filter((one) => one.startsWith("fault.healed"))).toHaveLength(4);
  });

  it("lets one fault wait for another: double failures", async () => {
    const { commands, faults, step, done } = unleash([
      { fault: FREEZE, at: at("switchover") },
      { fault: KILL, at: { on: "fault", index: 0, after_ms: 1 } },
    ]);
    step("switchover");
    await done();
    expect(commands).toEqual([expect.stringContaining("-STOP 42"), expect.stringContaining("kill -9 42")]);
    expect(faults()).toEqual(["fault.injected fault-0", "fault.injected fault-1"]);
  });

  it("lets a fault wait for another to be healed, and strikes so long after that", async () => {
    const { commands, faults, step, done } = unleash([
      { fault: FREEZE, at: at("switchover"), heal: { on: "fault", index: 0, after_ms: 1 } },
      { fault: KILL, at: { on: "healed", index: 0, after_ms: 1 } },
    ]);
    step("switchover");
    await done();
    expect(commands.at(-1)).toContain("kill -9 42");
    expect(faults()).toEqual(["fault.injected fault-0", "fault.healed fault-0", "fault.injected fault-1"]);
  });

  it("gives up at once what waits for something that cannot come any more, and names it", async () => {
    const { timeline, commands, step, done } = unleash([
      { fault: FREEZE, at: at("switchover"), heal: { on: "step", step: "takeover" } },
      { fault: KILL, at: { on: "pages", percent: 30 } },
      { fault: KILL, at: { on: "fault", index: 1, after_ms: 60_000 } },
    ]);
    step("switchover");
    timeline.emit("target", { kind: "host.gone", how: "killed" });
    await done();
    expect(commands).toHaveLength(1);
    expect(timeline.events.flatMap((event) => (event.kind === "fault.failed" ? [event.error] : [])).sort()).toEqual([
      expect.stringMatching(/^fault 0 .* is to be healed at "takeover".*: the target's host is dead$/),
      expect.stringMatching(/^fault 1 .* waits for "30 % of pages".*: the target's host is dead$/),
      expect.stringMatching(/^fault 2 .* fault 1 (did not strike|cannot strike)/),
    ]);
  });

  it("says so when a fault cannot be injected, and goes on with the others", async () => {
    const { timeline, commands, step, done } = unleash(
      [
        { fault: KILL, at: at("switchover") },
        { fault: FREEZE, at: at("switchover") },
      ],
      ["source"],
    );
    step("switchover");
    await done();
    expect(commands).toEqual(["target: kill -STOP 42"]);
    const failed = timeline.events.filter(({ kind }) => kind === "fault.failed");
    expect(failed).toMatchObject([{ id: "fault-0", error: "there is no qemu on source that could be hit" }]);
  });

  it("says of what still waits when the run is settled that its moment had not come", async () => {
    const { nemesis, timeline, faults, step } = unleash([
      { fault: KILL, at: at("switchover"), heal: at("completed") },
      { fault: FREEZE, at: { on: "step", step: "takeover" } },
    ]);
    step("switchover");
    await waitFor({ what: "the first", timeout_ms: 5_000 }, () => (nemesis.struck ? true : undefined));
    await nemesis.stop("nobody has the pages");
    expect(faults()).toEqual(["fault.injected fault-0", "fault.failed fault-1"]);
    expect(timeline.events.flatMap((event) => (event.kind === "fault.failed" ? [event.error] : []))).toEqual([
      'fault 1 (freeze-process, qemu on target) waits for "takeover", which had not come when the run was settled: nobody has the pages',
    ]);
  });

  it("knows whether what it broke may be healed yet", async () => {
    const plan = { fault: FREEZE, at: at("switchover"), heal: at("completing") } as const;
    const { nemesis, step, done } = unleash([plan, { fault: KILL, at: { on: "step", step: "takeover" } }]);
    expect(nemesis.healing).toBe(false);
    step("switchover");
    await waitFor({ what: "the first", timeout_ms: 5_000 }, () => (nemesis.healing ? true : undefined));
    step("completing");
    await waitFor({ what: "its healing", timeout_ms: 5_000 }, () => (nemesis.healing ? undefined : true));
    expect(nemesis.done).toBe(false);
    await nemesis.stop();
    await done();
  });

  it("once stopped, strikes no more, and does not call what never struck a failure", async () => {
    const { nemesis, commands, faults, step } = unleash([
      { fault: KILL, at: at("completed") },
      { fault: FREEZE, at: { ...at("switchover"), after_ms: 60_000 } },
    ]);
    step("switchover");
    await nemesis.stop();
    step("completed");
    expect(nemesis.done).toBe(true);
    expect([commands, faults()]).toEqual([[], []]);
  });

  it("bears to be stopped twice, and to have nothing to do", async () => {
    const { nemesis } = unleash([]);
    expect(nemesis.done).toBe(true);
    await nemesis.stop();
    await nemesis.stop();
  });
});
