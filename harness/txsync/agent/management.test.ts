import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { UserError } from "../../base/errors.ts";
import { generation, type Role } from "../core/index.ts";
import type { ControlRequest } from "./control.ts";
import { Management } from "./management.ts";
import type { SourceSide } from "./source-side.ts";
import { MACHINE, Stage } from "./testing/stage.ts";
import type { VmLife } from "./vm-life.ts";

let stage: Stage;
let described: number;
let paused: string | undefined;
const others = { pausedByOthers: async () => paused };
let management: Management;
function make(role: Role): void {
  stage = new Stage(role);
  described = 0;
  const life = { migrate_asked: false } as VmLife;
  management = new Management(stage.shell, { setRate: () => undefined } as unknown as SourceSide, life, others, () => {
    described += 1;
  });
}
beforeEach(() => make("source"));
afterEach(() => stage[Symbol.dispose]());

type Start = Extract<ControlRequest, { do: "prepare" }>["start"];
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

/** What an agent knows that comes up again on a host whose memory is gone, having promised its part of a generation. */
function startedAgain(role: "source" | "target"): void {
  make(role);
  const { promised } = stage.state;
  stage.set({ promised: { ...promised, generation: generation(2) }, phase: "draining", vm: "gone" });
}

describe("to prepare a host", () => {
  test("boots a VM, and has another QEMU wait in place of one that waits with nothing in it", async () => {
    await prepare("boot");
    expect(stage.said).toContain("slot.start boot");
    make("target");
    await prepare("incoming");
    await prepare("incoming");
    expect(stage.said.filter((said) => said === "slot.start incoming")).toHaveLength(2);
  });

  test.each(["boot", "incoming", "adopt"] as const)("%s: never ends the VM that runs there", async (start) => {
    const vm = stage.put("boot");
    await refuses(start, "has a QEMU already (boot)");
    expect(vm.said).toEqual([]);
  });

  test("asked twice at once is a VM once", async () => {
    const [first, second] = await Promise.allSettled([prepare("boot"), prepare("boot")]);
    expect([first.status, second.status]).toEqual(["fulfilled", "rejected"]);
    expect(stage.vms).toHaveLength(1);
  });

  test("never ends the QEMU into which memory goes ahead", async () => {
    make("target");
    await prepare("incoming");
    described = 0;
    stage.set({ vm: "incoming" });
    await refuses("incoming", "comes to this host");
    stage.vm = undefined;
    stage.set({ vm: "restoring" });
    await refuses("incoming", "is made again on it");
  });

  test("boots no second VM: not on another host, nor where these agents have one that is protected", async () => {
    make("target");
    for (const start of ["boot", "adopt"] as const) await refuses(start, "begins on the source");
    make("escrow");
    for (const start of ["boot", "adopt", "incoming"] as const) await refuses(start, "the escrow has no VM");
    startedAgain("source");
    for (const start of ["boot", "adopt"] as const) await refuses(start, "have a VM already");
  });

  test("is heard again where agent or host came up again: what machine it is, and that a QEMU has to wait", async () => {
    startedAgain("source");
    await prepare("nothing");
    startedAgain("target");
    await prepare("nothing");
    await prepare("incoming");
    expect(stage.said).toContain("slot.start incoming");
  });
});

describe("a VM", () => {
  beforeEach(() => {
    stage.put("boot");
    const peer = { host: "127.0.0.1", port: 1, bulk_port: 2 };
    Object.assign(stage.config, { peers: { target: peer, escrow: peer } });
    stage.set({ vm: "running", heardTarget_ms: 0, heardEscrow_ms: 0 });
  });
  const migrate = (): Promise<unknown> => management.answer({ id: 1, do: "migrate", bytes_per_s: 0 });
  const protect = (on: boolean): Promise<unknown> => management.answer({ id: 1, do: "protect", on });

  test("that somebody has paused is neither migrated nor protected, and that is said", async () => {
    paused = "paused";
    await expect(migrate()).rejects.toThrow(/paused.*let it run/);
    await expect(protect(true)).rejects.toThrow(/paused.*let it run/);
    expect(stage.told).toEqual([]);
    paused = undefined;
    await migrate();
    expect(stage.told).toEqual([{ kind: "migrate" }]);
  });

  test("gets what was asked for in the order in which it was asked, of the VM that is there by then", async () => {
    await Promise.all([protect(true), protect(false)]);
    expect(stage.told).toEqual([
      { kind: "protect", on: true },
      { kind: "protect", on: false },
    ]);
    const migrating = migrate();
    stage.vm = undefined;
    await expect(migrating).rejects.toThrow("no VM here");
  });
});
