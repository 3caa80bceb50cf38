import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../../base/errors.ts";
import { generation, type Phase } from "../core/index.ts";
import type { ControlRequest } from "./control.ts";
import { Management } from "./management.ts";
import type { SourceSide } from "./source-side.ts";
import { MACHINE, Stage } from "./testing/stage.ts";
import type { VmLife } from "./vm-life.ts";

let stage: Stage;
let described: number;
let management: Management;
function make(role: "source" | "target"): void {
  stage = new Stage(role);
  described = 0;
  management = new Management(stage.shell, {} as SourceSide, {} as VmLife, () => {
    described += 1;
  });
}
beforeEach(() => make("source"));
afterEach(() => stage[Symbol.dispose]());

type Start = Extract<ControlRequest, { do: "prepare" }>["start"];
const STARTS: readonly Start[] = ["boot", "incoming", "adopt", "nothing"];
const prepare = (start: Start): Promise<unknown> =>
  management.answer({ id: 1, do: "prepare", machine: MACHINE, start });
/** Nothing was started, ended or remembered. */
async function refuses(start: Start, why: string): Promise<void> {
  const before = [...stage.said];
  const refused = await prepare(start).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(UserError);
  expect(String(refused)).toContain(why);
  expect(stage.said).toEqual(before);
  expect(described).toBe(0);
}

describe("to prepare a host", () => {
  test("boots a VM, and has another QEMU wait in place of one that waits with nothing in it", async () => {
    stage.set({ vm: "none" });
    await prepare("boot");
    expect(stage.said).toContain("slot.start boot");
    make("target");
    await prepare("incoming");
    await prepare("incoming");
    expect(stage.said.filter((said) => said === "slot.start incoming")).toHaveLength(2);
  });

  test.each(STARTS)("%s: never ends the VM that runs there", async (start) => {
    const vm = stage.put("boot");
    await refuses(start, `pid ${vm.pid}`);
    expect(vm.said).toEqual([]);
    vm.end();
    stage.vm = undefined;
  });

  test.each(["precopy", "switchover", "draining", "handoff", "completed", "closed-out", "lost"] as const)(
    "is refused while the VM is being carried somewhere, or has been (%s)",
    async (phase: Phase) => {
      stage.set({ phase });
      for (const start of STARTS) await refuses(start, "carry the VM");
    },
  );

  test("never makes a second VM beside one that is protected, but has its target wait for it", async () => {
    make("target");
    stage.set({ phase: "watching", promised: { ...stage.state.promised, generation: generation(2) } });
    for (const start of ["boot", "adopt"] as const) await refuses(start, "have a VM already");
    await prepare("incoming");
    expect(stage.said).toContain("slot.start incoming");
  });
});
