import { describe, expect, it } from "vitest";
import type { StartedVm } from "../../../fleet/vm.ts";
import type { ManagerContext, Seen } from "./manager.ts";
import { NoManager } from "./none.ts";

const vm = {} as StartedVm;
const seen = (source: string, target: string): Seen => ({
  source: { vm, status: source },
  target: { vm, status: target },
  now_ms: 9_000,
  left_at_ms: 0,
  completing: false,
});

describe("the manager none", () => {
  const manager = new NoManager({} as ManagerContext);

  it("does nothing about a stream from which nothing comes", async () => {
    expect(await manager.tend(seen("postcopy-active", "postcopy-active"))).toBeUndefined();
  });

  it("gives up a post-copy that is paused, on either side", async () => {
    expect(await manager.tend(seen("postcopy-paused", "postcopy-active"))).toMatch(/^postcopy-paused on source: /);
    expect(await manager.tend(seen("postcopy-paused", "postcopy-paused"))).toMatch(/on source and target: /);
  });
});
