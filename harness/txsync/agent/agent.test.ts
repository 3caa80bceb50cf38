import { mkdtempSync, rmSync, writeSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { frameNumber, generation, type Role, transactionNumber } from "../core/index.ts";
import type { DataEvent } from "../data/index.ts";
import { folder as folderOf } from "../log/index.ts";
import { Agent } from "./agent.ts";
import type { AgentConfig } from "./config.ts";
import { MemoryStore } from "./memory.ts";
import { startHere } from "./starter.ts";
import { configOf, ScriptedData } from "./testing/stage.ts";

let folder: string;
const agents: Acted[] = [];
/** What agents say. */
const said: string[] = [];
beforeEach(() => {
  said.length = 0;
  vi.spyOn(process.stderr, "write").mockImplementation((text) => said.push(String(text)) > 0);
  folder = mkdtempSync(join(tmpdir(), "ferryman-whole-agent-"));
});
afterEach(() => {
  vi.restoreAllMocks();
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

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: it fails`), { code });
}

/** A whole agent whose data plane is played, and whose end is noted. */
class Acted {
  readonly died: string[] = [];
  /** The error of every write to the host's tmpfs, and to the disk where its promises are. */
  fails: string | undefined;
  disk_fails: string | undefined;
  writes = 0;
  /** To write a promise. */
  tries = 0;
  readonly data = new ScriptedData();
  readonly agent: Agent;
  readonly config: AgentConfig;
  tell: (event: DataEvent) => void = () => undefined;
  fail: (error: Error) => void = () => undefined;

  constructor(config: AgentConfig, fails?: string) {
    this.config = config;
    this.fails = fails;
    this.data.on("open", () => ({ log: null }));
    this.agent = new Agent(config, {
      data: ({ onTell, onFailed }) => {
        this.tell = onTell;
        this.fail = onFailed;
        return this.data;
      },
      starter: () => startHere,
      // As a process that ends: what called goes no further, and nobody hears of it.
      die: ((error: unknown) => void this.died.push(String(error))) as never,
      write: (fd, bytes, offset, length, position) => {
        this.writes += 1;
        if (this.fails !== undefined) throw failure(this.fails);
        return writeSync(fd, bytes, offset, length, position);
      },
      promises: (path) => {
        const real = folderOf(path);
        return {
          ...real,
          open: async (name, how) => {
            if (how === "create" && this.disk_fails !== undefined) {
              this.tries += 1;
              throw failure(this.disk_fails);
            }
            return await real.open(name, how);
          },
        };
      },
    });
    agents.push(this);
  }

  /** @param fails every write does from the beginning, with this error */
  static async make(role: Role, changes: Partial<AgentConfig> = {}, fails?: string): Promise<Acted> {
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
      fails,
    );
  }

  /** What its next life would find. */
  get remembered(): ReturnType<MemoryStore["load"]> {
    return new MemoryStore(this.config.memory_folder).load();
  }

  /** From now on what the agent has to remember cannot be written, for no reason that could pass. */
  memoryFails(): void {
    this.fails = "EISDIR";
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

const ASKED = {
  kind: "message",
  from: "source",
  message: {
    kind: "ask",
    pre: false,
    descriptor: {
      generation: generation(1),
      owner: "target",
      mode: "protected",
      validFrom: generation(1),
      basis: null,
    },
    attempt: 1,
  },
} as const;

test("a promise that has no place to be written to is not told: the agent stops", async () => {
  const one = await Acted.make("escrow");
  await one.agent.start();
  rmSync(one.config.state_folder, { recursive: true });
  one.agent.dispatch(ASKED);
  await until("its end", () => one.died.length > 0);
  expect(one.died[0]).toContain("ENOENT");
  expect(one.agent.state().persisting).not.toBeNull();
  await isDead(one);
});

describe.each(["ENOSPC", "EIO", "EROFS"])("storage that answers %s is waited for", (code) => {
  const lines = (): string[] => said.filter((line) => line.includes(code));

  test("a promise is given when it is written, and the agent lives", async () => {
    const one = await Acted.make("escrow");
    await one.agent.start();
    one.disk_fails = code;
    one.agent.dispatch(ASKED);
    await until("it to be tried again", () => one.tries > 2);
    expect([one.died, one.agent.state().persisting === null]).toEqual([[], false]);
    expect(lines()).toHaveLength(1);
    one.disk_fails = undefined;
    await until("the promise", () => one.agent.state().persisting === null);
    expect(one.agent.state().promised.generation).toBe(1);
    expect(one.died).toEqual([]);
  });

  test("a step happens when what it has to be remembered by is written, and not before", async () => {
    const one = await Acted.make("target");
    await one.agent.start();
    one.fails = code;
    const before = one.agent.state();
    const calls = one.data.calls.length;
    one.agent.dispatch({ kind: "allPagesArrived" });
    // What peers say they say again; what has come so far, the next word tells.
    for (let i = 1; i <= 100; i += 1) {
      one.agent.dispatch({ kind: "output", upTo: frameNumber(0) });
      one.agent.dispatch({ ...ASKED, message: { ...ASKED.message, attempt: i } });
    }
    const { writes } = one;
    await until("it to be tried again", () => one.writes > writes + 1);
    expect([one.agent.state(), one.died, one.data.calls.length]).toEqual([before, [], calls]);
    expect(one.remembered?.host.allPages ?? false).toBe(false);
    expect(lines()).toHaveLength(1);
    one.fails = undefined;
    await until("it to go on", () => one.agent.state().allPages);
    expect(one.remembered).toMatchObject({ host: { allPages: true } });
    expect(one.agent.state().persisting).toBeNull();
    // And beats again.
    const tells = one.data.times("tell");
    await until("its heartbeats", () => one.data.times("tell") > tells + 1);
    expect(one.died).toEqual([]);
  });

  test("an agent comes up where nothing can be written, and goes on when it can", async () => {
    const one = await Acted.make("target", {}, code);
    const starting = one.agent.start();
    await starting;
    one.agent.dispatch({ kind: "allPagesArrived" });
    expect([one.agent.state().allPages, one.died]).toEqual([false, []]);
    one.fails = undefined;
    await until("it to go on", () => one.agent.state().allPages);
    expect(one.died).toEqual([]);
  });
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
  expect(one.remembered).toBeNull();
  opened.resolve({ log: null });
  await starting;
  await until("the answer", () => heard.includes('"phase":"idle"'));
  expect(one.agent.state().allPages).toBe(true);
  expect(one.remembered).toMatchObject({ host: { allPages: true } });
  socket.destroy();
});
