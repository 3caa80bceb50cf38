import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { frameNumber, generation, type Role, transactionNumber } from "../core/index.ts";
import type { DataEvent } from "../data/index.ts";
import { Agent } from "./agent.ts";
import type { AgentConfig } from "./config.ts";
import { configOf, ScriptedData } from "./testing/stage.ts";

let folder: string;
const agents: Acted[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-whole-agent-"));
});
afterEach(() => {
  for (const one of agents.splice(0)) one.end();
  rmSync(folder, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

const until = (what: string, is: () => boolean): Promise<true> =>
  waitFor({ what, timeout_ms: 5_000, interval_ms: 1 }, () => is() || undefined);

/** A whole agent whose data plane is played, and whose end is noted. */
class Acted {
  readonly died: string[] = [];
  readonly data = new ScriptedData();
  readonly agent: Agent;
  readonly config: AgentConfig;
  tell: (event: DataEvent) => void = () => undefined;
  fail: (error: Error) => void = () => undefined;

  constructor(config: AgentConfig) {
    this.config = config;
    this.data.on("open", () => ({ log: null }));
    this.agent = new Agent(config, {
      data: ({ onTell, onFailed }) => {
        this.tell = onTell;
        this.fail = onFailed;
        return this.data;
      },
      // As a process that ends: what called goes no further, and nobody hears of it.
      die: ((error: unknown) => void this.died.push(String(error))) as never,
    });
    agents.push(this);
  }

  static async make(role: Role, changes: Partial<AgentConfig> = {}): Promise<Acted> {
    const host = "127.0.0.1";
    const nobody = { host, port: 1, bulk_port: 1 };
    const others = (["source", "target", "escrow"] as const).filter((other) => other !== role);
    return new Acted(
      configOf(role, folder, {
        peers: Object.fromEntries(others.map((other) => [other, nobody])),
        listen: { host, port: await freePort() },
        control: { host, port: await freePort(), token: "0f".repeat(32) },
        ...changes,
      }),
    );
  }

  get memory(): string {
    return join(this.config.memory_folder, "agent.json");
  }

  /** From now on what the agent has to remember cannot be written. */
  memoryFails(): void {
    mkdirSync(`${this.memory}.new`);
  }

  end(): void {
    this.fail(new Error("the test is over"));
    this.agent.output.unfollow();
  }
}

/** Arrived outside although it was never let out: the core contradicts itself. */
const CONTRADICTION = {
  kind: "restoreReady",
  generation: generation(0),
  n: transactionNumber(1),
  mark: frameNumber(1),
  acked: frameNumber(7),
} as const;

/** Whatever happens after its end changes nothing. */
async function isDead(one: Acted): Promise<void> {
  const state = one.agent.state();
  const calls = one.data.calls.length;
  one.agent.dispatch({ kind: "timer", timer: "heartbeat" });
  one.agent.dispatch({ kind: "baseComplete", complete: true });
  await new Promise((resolve) => setTimeout(resolve, 2 * one.config.heartbeat_ms));
  expect(one.agent.state()).toBe(state);
  expect(one.data.calls).toHaveLength(calls);
}

describe("a memory that cannot be written stops the agent, whoever called", () => {
  const WHO: Record<string, (one: Acted) => unknown> = {
    "from a call": (one) => one.agent.dispatch({ kind: "output", upTo: frameNumber(3) }),
    "from the data plane": (one) => one.tell({ kind: "all-pages" }),
    "from a message": (one) =>
      one.tell({
        kind: "record-came",
        from: "target",
        header: { ...CONTRADICTION, since: "base", acked: frameNumber(0) },
      }),
  };
  test.each(Object.keys(WHO))("%s", async (who) => {
    const one = await Acted.make("target");
    await one.agent.start();
    one.memoryFails();
    const state = one.agent.state();
    WHO[who]?.(one);
    // What changes nothing that has to be remembered is nothing that can fail.
    if (who === "from a message") one.agent.dispatch({ kind: "allPagesArrived" });
    expect(one.died).toHaveLength(1);
    expect(one.died[0]).toContain("EISDIR");
    expect(state.vm).toBe("none");
    await isDead(one);
  });

  test("from a timer", async () => {
    const one = await Acted.make("target");
    await one.agent.start();
    one.memoryFails();
    rmSync(one.memory);
    one.agent.dispatch({ kind: "allPagesArrived" });
    await until("its end", () => one.died.length > 0);
    await isDead(one);
  });
});

describe("a contradiction of the core stops the agent, whoever called", () => {
  /** A state in which the next step is a contradiction. */
  async function contradicting(): Promise<Acted> {
    const one = await Acted.make("escrow");
    await one.agent.start();
    const state = one.agent.state() as { vm: string };
    // As a bug in the core would leave it.
    state.vm = "running";
    return one;
  }
  const WHO: Record<string, (one: Acted) => unknown> = {
    "from a call": (one) => one.agent.dispatch({ kind: "baseComplete", complete: true }),
    "from the data plane": (one) => one.tell({ kind: "base-complete" }),
  };
  test.each(["from a call", "from the data plane"])("%s", async (who) => {
    const one = await contradicting();
    WHO[who]?.(one);
    expect(one.died.join()).toContain("the escrow has a VM");
    await isDead(one);
  });

  test("from a timer", async () => {
    const one = await contradicting();
    await until("its end", () => one.died.length > 0);
    expect(one.died[0]).toContain("InvariantError");
    await isDead(one);
  });

  test("nothing that the step decided is done", async () => {
    const one = await Acted.make("target");
    await one.agent.start();
    const calls = one.data.calls.length;
    const state = one.agent.state() as unknown as { gate: object };
    state.gate = { produced: 0, released: 5, acked: 0, committed: 0 };
    one.agent.dispatch({ kind: "timer", timer: "heartbeat" });
    expect(one.died.join()).toContain("has not emitted");
    expect(one.data.calls).toHaveLength(calls);
    await isDead(one);
  });
});

test("a promise that cannot be written is not told: the agent stops", async () => {
  const one = await Acted.make("escrow");
  await one.agent.start();
  rmSync(one.config.state_folder, { recursive: true });
  const descriptor = {
    generation: generation(1),
    owner: "target",
    mode: "protected",
    validFrom: generation(1),
    basis: null,
  } as const;
  one.agent.dispatch({
    kind: "message",
    from: "source",
    message: { kind: "ask", pre: false, descriptor, attempt: 1 },
  });
  await until("its end", () => one.died.length > 0);
  expect(one.died[0]).toContain("ENOENT");
  expect(one.agent.state().persisting).not.toBeNull();
  await isDead(one);
});

test("a data plane that ends takes the agent with it", async () => {
  const one = await Acted.make("target");
  await one.agent.start();
  one.fail(new Error("the data plane ended with code 1"));
  expect(one.died).toEqual(["Error: the data plane ended with code 1"]);
  await isDead(one);
});

test("a data plane that answers nothing is asked once, and not believed for ever", async () => {
  const one = await Acted.make("target", { heartbeat_ms: 10_000 });
  one.data.on("tell", () => new Promise(() => undefined));
  await one.agent.start();
  for (let i = 0; i < 6; i += 1) one.agent.dispatch({ kind: "timer", timer: "heartbeat" });
  expect(one.died).toEqual([]);
  expect(one.data.times("tell")).toBe(1);
  for (let i = 0; i < 2; i += 1) one.agent.dispatch({ kind: "timer", timer: "heartbeat" });
  expect(one.died.join()).toContain("has not answered");
});

test("a data plane that answers late, or with an error, is asked again", async () => {
  const one = await Acted.make("target", { heartbeat_ms: 10_000 });
  one.data.on("tell", () => Promise.reject(new Error("busy")));
  await one.agent.start();
  for (let i = 0; i < 20; i += 1) {
    one.agent.dispatch({ kind: "timer", timer: "heartbeat" });
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(one.died).toEqual([]);
  expect(one.data.times("tell")).toBeGreaterThan(10);
});

test("what comes before the agent knows what it was waits for that", async () => {
  const one = await Acted.make("target");
  const opened = Promise.withResolvers<{ log: null }>();
  one.data.on("open", () => opened.promise);
  const starting = one.agent.start();
  await until("the question", () => one.data.calls.includes("open"));
  one.tell({ kind: "all-pages" });
  const socket = createConnection({ host: "127.0.0.1", port: one.config.control.port });
  let heard = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    heard += text;
  });
  socket.write(`${JSON.stringify({ token: one.config.control.token })}\n${JSON.stringify({ id: 1, do: "status" })}\n`);
  await until("the connection", () => !socket.connecting);
  expect([one.agent.state().allPages, heard]).toEqual([false, ""]);
  expect(existsSync(one.memory)).toBe(false);
  opened.resolve({ log: null });
  await starting;
  await until("the answer", () => heard.includes('"phase":"idle"'));
  expect(one.agent.state().allPages).toBe(true);
  expect(JSON.parse(readFileSync(one.memory, "utf8"))).toMatchObject({ host: { allPages: true } });
  socket.destroy();
});
