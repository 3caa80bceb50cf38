import { describe, expect, it } from "vitest";
import type { StartedVm } from "../../../fleet/vm.ts";
import type { ManagerContext, Seen } from "./manager.ts";
import { EagerQmpManager } from "./qmp.ts";

/** What the manager asks of monitors that refuse nothing, of a stream from which nothing has come for nine seconds. */
async function asks(source: string, target: string, completing = false, before?: string): Promise<readonly string[]> {
  const asked: string[] = [];
  const vm = (role: string): StartedVm =>
    ({
      alive: true,
      host: { up: true, role },
      oob: { executeRaw: async (command: string) => asked.push(`${role}: ${command}`) },
    }) as unknown as StartedVm;
  const seen: Seen = {
    source: { vm: vm("source"), status: source },
    target: { vm: vm("target"), status: target },
    now_ms: 9_000,
    left_at_ms: 0,
    completing,
  };
  const context = { configuration: {}, timeline: { emit: () => undefined } } as unknown as ManagerContext;
  const manager = new EagerQmpManager(context);
  if (before !== undefined) await manager.tend({ ...seen, source: { ...seen.source, status: before }, now_ms: 8_900 });
  expect(await manager.tend(seen)).toBeUndefined();
  return asked;
}

describe("the manager qmp", () => {
  it("pauses both sides of a stream from which nothing comes", async () => {
    expect(await asks("postcopy-active", "postcopy-active")).toEqual([
      "source: migrate-pause",
      "target: migrate-pause",
    ]);
  });

  it("pauses none while the source waits for the target to load, or for it to say that it has all", async () => {
    expect(await asks("postcopy-device", "postcopy-active")).toEqual([]);
    expect(await asks("postcopy-active", "postcopy-active", false, "postcopy-device")).toEqual([]);
    expect(await asks("postcopy-active", "postcopy-active", true)).toEqual([]);
  });
});
