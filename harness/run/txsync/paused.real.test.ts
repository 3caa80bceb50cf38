import { afterAll, beforeAll, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { type StartedFleet, startFleet } from "../../fleet/fleet.ts";
import { PORTS } from "../../fleet/ports.ts";
import { hostShmBytes } from "../../fleet/shm.ts";
import { testBed } from "../../fleet/testing/test-fleet.ts";
import { QmpClient } from "../../qemu/qmp.ts";
import { agentMachine } from "./agent-machine.ts";
import { Agents } from "./agents.ts";
import { DEFAULT_TXSYNC } from "./settings.ts";
import { SMALL_BYTES, smallVm } from "./testing/small-vm.ts";

const WAIT_MS = 60_000;

let fleet: StartedFleet;
let agents: Agents;
let operator: QmpClient;
let committed = 0;
const notes: string[] = [];

beforeAll(async () => {
  const bed = await testBed();
  fleet = await startFleet(bed.docker, bed.spec({ shm_bytes: hostShmBytes(SMALL_BYTES) }));
  agents = await Agents.start(fleet, {
    settings: DEFAULT_TXSYNC,
    turn: 1,
    disks: [],
    storage_patience_ms: 60_000,
    token: "0".repeat(64),
    qemu_binary: "qemu-system-x86_64",
    emit: () => undefined,
    log: () => () => undefined,
    onEvent: (role, event) => {
      if (role !== "source") return;
      if (event.kind === "tx.committed") committed = event.n;
      if (event.kind === "run.note") notes.push(event.text);
    },
  });
  const machine = agentMachine({ ...smallVm(), hold: false });
  await agents.client("source").ask({ do: "prepare", machine, start: "boot" });
  operator = await QmpClient.connect(await fleet.host("source").connect(PORTS.qmp_control), { name: "operator" });
});

afterAll(async () => {
  await operator?.[Symbol.asyncDispose]();
  await agents?.stop();
  await fleet?.[Symbol.asyncDispose]();
});

async function transactions(more: number): Promise<void> {
  const from = committed;
  await waitFor({ what: `${more} more transactions`, timeout_ms: WAIT_MS }, () =>
    committed >= from + more ? true : undefined,
  );
}

/** As whoever types it does: where it came in the middle of a transaction, which lets the VM run on, it is typed again. */
async function pause(): Promise<void> {
  await waitFor({ what: "the VM to stay paused", timeout_ms: WAIT_MS }, async () => {
    await operator.execute("stop");
    await transactions(2);
    return (await operator.execute("query-status")).running ? undefined : true;
  });
}

it("a protected VM that an operator pauses stands still through its transactions, and runs when it is let", async () => {
  await waitFor({ what: "the VM to be protected", timeout_ms: WAIT_MS }, async () => {
    // Not before the hosts hear each other.
    await agents
      .client("source")
      .ask({ do: "protect", on: true })
      .catch(() => undefined);
    return committed > 2 ? true : undefined;
  });
  await pause();
  let resumed = 0;
  operator.on((event) => {
    if (event.kind === "resume") resumed += 1;
  });
  await transactions(10);
  expect(await operator.execute("query-status")).toMatchObject({ status: "paused" });
  expect(resumed).toBe(0);
  expect(notes.join("\n")).toContain("the VM was paused (paused)");

  await operator.execute("cont");
  await transactions(3);
  expect(await operator.execute("query-status")).toMatchObject({ running: true });
  expect(notes).toContain("the VM is not paused any more");
});
