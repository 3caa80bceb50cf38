import { once } from "node:events";
import { createConnection, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { LineCutter } from "../../base/lines.ts";
import { waitFor } from "../../base/wait.ts";
import { frameNumber } from "../core/index.ts";
import { Control, type ControlRequest } from "./control.ts";

const WAIT_MS = 5_000;
const TOKEN = "0f".repeat(32);
const sockets: Socket[] = [];

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** An agent's port, and what came in by it. */
class Port {
  readonly asked: ControlRequest[] = [];
  readonly edges: number[] = [];
  readonly acks: number[] = [];
  readonly typed: [number, string][] = [];
  answer: (request: ControlRequest) => Promise<unknown> = async () => ({ phase: "idle" });
  readonly control: Control;
  readonly port: number;

  private constructor(port: number) {
    this.port = port;
    this.control = new Control({
      listen: { host: "127.0.0.1", port, token: TOKEN },
      answer: (request) => {
        this.asked.push(request);
        return this.answer(request);
      },
      onEdge: (upTo) => this.edges.push(upTo),
      onAck: (upTo) => this.acks.push(upTo),
      onType: (channel, bytes) => this.typed.push([channel, bytes.toString()]),
    });
  }

  static async open(): Promise<Port> {
    const port = new Port(await freePort());
    await port.control.start();
    return port;
  }

  /** With the token shown. */
  async connect(): Promise<Client> {
    const client = await this.connectUnknown();
    client.say({ token: TOKEN });
    return client;
  }

  async connectUnknown(): Promise<Client> {
    const socket = createConnection({ host: "127.0.0.1", port: this.port });
    sockets.push(socket);
    await once(socket, "connect");
    return new Client(socket);
  }
}

class Client {
  readonly socket: Socket;
  readonly lines: Record<string, unknown>[] = [];
  closed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    const cutter = new LineCutter();
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.closed = true;
    });
    socket.on("data", (text: string) => {
      this.lines.push(...cutter.push(text).map((line) => JSON.parse(line) as Record<string, unknown>));
    });
  }

  say(...lines: unknown[]): void {
    this.socket.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  }

  async heard(count: number): Promise<readonly Record<string, unknown>[]> {
    const what = `${count} lines`;
    return await until(what, () => (this.lines.length >= count ? this.lines : undefined));
  }

  async end(): Promise<void> {
    await until("the end of the connection", () => this.closed || undefined);
  }
}

async function until<T>(what: string, look: () => T | undefined): Promise<T> {
  return await waitFor({ what, timeout_ms: WAIT_MS, interval_ms: 1 }, look);
}

const frame = (number: number, text: string): Parameters<Control["letOut"]>[1][number] => ({
  number: frameNumber(number),
  channel: 1,
  bytes: Buffer.from(text),
});

describe("the agent's port", () => {
  it("answers every question under its number, in pieces of any size", async () => {
    const port = await Port.open();
    const client = await port.connect();
    client.say({ id: 1, do: "status" }, { id: 2, do: "migrate", bytes_per_s: 5 });
    expect(await client.heard(2)).toEqual([
      { id: 1, ok: { phase: "idle" } },
      { id: 2, ok: { phase: "idle" } },
    ]);
    port.answer = async () => undefined;
    const line = Buffer.from(`${JSON.stringify({ id: 3, do: "status" })}\n`);
    client.socket.write(line.subarray(0, 9));
    client.socket.write(line.subarray(9));
    expect((await client.heard(3))[2]).toEqual({ id: 3, ok: null });
  });

  it("answers what it does not understand with an error, and goes on", async () => {
    const port = await Port.open();
    const client = await port.connect();
    client.socket.write("this is no JSON\n\n");
    client.say({ id: 7, do: "explode" }, { id: 8, do: "migrate", bytes_per_s: -1 }, { do: "status" }, null, [1]);
    client.say({ id: 9, do: "status", more: 1 }, { id: 10, do: "status" });
    const lines = await client.heard(9);
    expect(lines.slice(0, 2).map(({ error }) => String(error).slice(0, 7))).toEqual(["no JSON", "no JSON"]);
    expect(lines.slice(2, 8).map(({ id, error }) => [id, typeof error])).toEqual(
      [7, 8, null, null, null, 9].map((id) => [id, "string"]),
    );
    expect(lines[8]).toEqual({ id: 10, ok: { phase: "idle" } });
    expect(port.asked).toEqual([{ id: 10, do: "status" }]);
  });

  it("tells why it could not do what was asked: to a person in one sentence, of a bug with its name", async () => {
    const port = await Port.open();
    const client = await port.connect();
    port.answer = async ({ id }) => {
      throw id === 1 ? new UserError("there is no VM") : new RangeError("broken");
    };
    client.say({ id: 1, do: "status" });
    expect((await client.heard(1))[0]).toEqual({ id: 1, error: "there is no VM" });
    client.say({ id: 2, do: "status" });
    expect((await client.heard(2))[1]).toEqual({ id: 2, error: "RangeError: broken" });
  });

  it("tells events to those who watch, and to nobody else", async () => {
    const port = await Port.open();
    const [watcher, other] = [await port.connect(), await port.connect()];
    watcher.say({ id: 1, do: "watch" });
    await watcher.heard(1);
    port.control.emit({ kind: "run.note", text: "hello" });
    expect((await watcher.heard(2))[1]).toEqual({ event: { kind: "run.note", text: "hello" } });
    other.say({ id: 2, do: "status" });
    expect(await other.heard(1)).toEqual([{ id: 2, ok: { phase: "idle" } }]);
    watcher.socket.destroy();
    port.control.emit({ kind: "run.note", text: "nobody is there" });
  });

  it("does nothing, and tells nothing, for who does not show its token first", async () => {
    const port = await Port.open();
    const wrong = [{ token: "0e".repeat(32) }, { token: TOKEN, more: 1 }, { id: 1, do: "status" }, "token", null];
    for (const first of wrong) {
      const client = await port.connectUnknown();
      client.say(first, { token: TOKEN }, { id: 1, do: "status" }, { id: 2, do: "watch" });
      await client.end();
      expect(client.lines).toEqual([{ error: "the agent's token has to be shown first" }]);
    }
    const silent = await port.connectUnknown();
    silent.socket.write("x".repeat(2000));
    await silent.end();
    expect([port.asked, port.edges, silent.lines]).toEqual([[], [], []]);
  });

  it("closes a connection that sends a line without an end", async () => {
    const port = await Port.open();
    const client = await port.connect();
    client.socket.write(Buffer.alloc(5 * 2 ** 20, "x"));
    await client.end();
  });
});

describe("the receiving edge", () => {
  it("gets frames, acknowledges them and types", async () => {
    const port = await Port.open();
    const edge = await port.connect();
    port.control.letOut(3, [frame(1, "to nobody")]);
    edge.say({ id: 0, do: "edge", upTo: 4 });
    await until("the edge", () => port.edges[0]);
    expect(port.edges).toEqual([4]);
    port.control.letOut(3, [frame(5, "five"), frame(6, "six")]);
    expect(await edge.heard(2)).toEqual([
      { frame: 5, generation: 3, channel: 1, bytes: Buffer.from("five").toString("base64") },
      { frame: 6, generation: 3, channel: 1, bytes: Buffer.from("six").toString("base64") },
    ]);
    edge.say({ ack: 5 }, { type: Buffer.from("ls\n").toString("base64"), channel: 0 }, { ack: 6 });
    await until("all that the edge said", () => (port.acks.length === 2 ? true : undefined));
    expect([port.acks, port.typed, port.asked]).toEqual([[5, 6], [[0, "ls\n"]], []]);
  });

  it("is the one that came last; the one before is closed", async () => {
    const port = await Port.open();
    const [first, second] = [await port.connect(), await port.connect()];
    first.say({ id: 0, do: "edge", upTo: 0 });
    await until("the first edge", () => (port.edges.length === 1 ? true : undefined));
    second.say({ id: 0, do: "edge", upTo: 2 });
    await first.end();
    port.control.letOut(1, [frame(3, "three")]);
    expect(await second.heard(1)).toMatchObject([{ frame: 3 }]);
    expect(first.lines).toEqual([]);
    second.socket.destroy();
    const third = await port.connect();
    third.say({ id: 0, do: "edge", upTo: 3 });
    await until("the third edge", () => (port.edges.length === 3 ? true : undefined));
    port.control.letOut(1, [frame(4, "four")]);
    expect(await third.heard(1)).toMatchObject([{ frame: 4 }]);
  });

  it("is closed when it says what makes no sense, and nothing after that counts", async () => {
    const port = await Port.open();
    for (const bad of [{ ack: -1 }, { ack: 1, more: 2 }, { type: "", channel: 8 }, { id: 1, do: "status" }, null]) {
      const edge = await port.connect();
      edge.say({ id: 0, do: "edge", upTo: 0 }, bad, { ack: 7 });
      await edge.end();
    }
    expect([port.edges, port.acks, port.asked]).toEqual([[0, 0, 0, 0, 0], [], []]);
  });

  it("lets go of a watcher that does not read, and tells the others", async () => {
    const port = await Port.open();
    const [idle, well] = [await port.connect(), await port.connect()];
    idle.socket.pause();
    idle.say({ id: 1, do: "watch" });
    well.say({ id: 1, do: "watch" });
    await waitFor({ what: "both watchers", timeout_ms: WAIT_MS }, () => port.asked.length === 2 || undefined);
    const text = "x".repeat(2 ** 20);
    const dropped = (): boolean => well.lines.some((line) => JSON.stringify(line).includes("it does not read"));
    for (let i = 0; i < 60 && !dropped(); i += 1) {
      port.control.emit({ kind: "run.note", text });
      // Whoever reads has it by then.
      const so_far = i + 1;
      const notes = (): number => well.lines.filter((line) => JSON.stringify(line).includes("run.note")).length;
      await waitFor({ what: "the event", timeout_ms: WAIT_MS, interval_ms: 1 }, () => notes() >= so_far || undefined);
    }
    expect(dropped()).toBe(true);
    expect(well.socket.destroyed).toBe(false);
  });

  it("lets go of an edge that does not read; another one gets all of it", async () => {
    const port = await Port.open();
    const watcher = await port.connect();
    watcher.say({ id: 1, do: "watch" });
    const idle = await port.connect();
    idle.socket.pause();
    idle.say({ do: "edge", id: 1, upTo: 0 });
    await waitFor({ what: "the edge", timeout_ms: WAIT_MS }, () => port.edges.length === 1 || undefined);
    const bytes = Buffer.alloc(24 * 2 ** 20);
    for (let number = 1; number <= 12; number += 1)
      port.control.letOut(1, [{ number: frameNumber(number), channel: 0, bytes }]);
    await waitFor({ what: "the word", timeout_ms: WAIT_MS }, () =>
      watcher.lines.some((line) => JSON.stringify(line).includes("connection of the receiving edge was closed"))
        ? true
        : undefined,
    );
    const next = await port.connect();
    next.say({ do: "edge", id: 1, upTo: 0 });
    await waitFor({ what: "the next edge", timeout_ms: WAIT_MS }, () => port.edges.length === 2 || undefined);
    port.control.letOut(2, [{ number: frameNumber(1), channel: 0, bytes: Buffer.from("a") }]);
    await waitFor({ what: "the frame", timeout_ms: WAIT_MS }, () => next.lines.length > 0 || undefined);
    expect(next.lines[0]).toMatchObject({ frame: 1, generation: 2 });
  });
});
