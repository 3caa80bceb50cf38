import { createConnection, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { LineCutter } from "../../base/lines.ts";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { Edge } from "./edge.ts";

const TOKEN = "00".repeat(32);

/** What an edge says to an agent. */
type Said = {
  readonly do?: string;
  readonly upTo?: number;
  readonly ack?: number;
  readonly type?: string;
  readonly token?: string;
};

/** An agent as the edge sees it: a port, and what was said there. */
class FakeAgent {
  readonly said: Said[] = [];
  readonly #server: Server;
  #socket: Socket | undefined;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#socket = socket;
      const cutter = new LineCutter();
      socket.setEncoding("utf8");
      socket.on("error", () => undefined);
      socket.on("data", (text: string) => {
        this.said.push(...cutter.push(text).map((line) => JSON.parse(line) as Said));
      });
    });
  }

  static async start(): Promise<FakeAgent> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FakeAgent(server);
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  letOut(frame: number, text: string, channel = 1, generation = 1): void {
    const bytes = Buffer.from(text).toString("base64");
    this.says(JSON.stringify({ frame, generation, channel, bytes }));
  }

  says(line: string): void {
    this.#socket?.write(`${line}\n`);
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  async hears(what: string, sign: (said: Said) => boolean): Promise<void> {
    await waitFor({ what, timeout_ms: 5_000 }, () => (this.said.some(sign) ? true : undefined));
  }

  close(): void {
    this.#socket?.destroy();
    this.#server.close();
  }
}

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
});

async function stage(): Promise<{ edge: Edge; source: FakeAgent; target: FakeAgent; came: string[] }> {
  const agents = { source: await FakeAgent.start(), target: await FakeAgent.start() };
  const edge = new Edge((role: HostRole) => {
    const { port } = agents[role === "target" ? "target" : "source"];
    const host = { role, gone: false, connect: async () => createConnection({ port, host: "127.0.0.1" }) };
    return host as unknown as StartedHost;
  }, TOKEN);
  const came: string[] = [];
  edge.onFrame((_, bytes, from) => came.push(`${from}: ${bytes.toString()}`));
  opened.push({ close: () => edge[Symbol.dispose]() }, agents.source, agents.target);
  for (const agent of [agents.source, agents.target])
    await agent.hears("the edge to come", (said) => said.do === "edge");
  expect([agents.source.said[0], agents.target.said[0]]).toEqual([{ token: TOKEN }, { token: TOKEN }]);
  return { edge, ...agents, came };
}

describe("the receiving edge", () => {
  it("takes frames in order from whoever lets them out, and acknowledges them", async () => {
    const { edge, source, target, came } = await stage();
    source.letOut(1, "a");
    source.letOut(2, "b");
    await source.hears("an acknowledgement", (said) => said.ack === 2);
    target.letOut(3, "c");
    await target.hears("an acknowledgement", (said) => said.ack === 3);
    expect(came).toEqual(["source: a", "source: b", "target: c"]);
    expect(edge.findings).toEqual({
      frames: 3,
      repeated: 0,
      after_switchover: 3,
      changed: { count: 0 },
      late: { count: 0 },
      gaps: { count: 0 },
      torn: 0,
      missing: { count: 0 },
      marks: [],
    });
  });

  it("drops what comes again, and tells when it is not what it was", async () => {
    const { edge, source, target, came } = await stage();
    source.letOut(1, "a");
    await source.hears("an acknowledgement", (said) => said.ack === 1);
    target.letOut(1, "a");
    target.letOut(1, "x");
    target.letOut(2, "b");
    await target.hears("an acknowledgement", (said) => said.ack === 2);
    expect(came).toEqual(["source: a", "target: b"]);
    expect(edge.findings).toMatchObject({ frames: 2, repeated: 2 });
    expect(edge.findings.changed).toMatchObject({
      count: 1,
      first: expect.stringContaining("frame 1 came from target"),
    });
  });

  it("bears a line that cannot be read, and asks again for what was in it", async () => {
    const { edge, source, came } = await stage();
    source.letOut(1, "a");
    await source.hears("an acknowledgement", (said) => said.ack === 1);
    source.says('{"frame":2,"gener');
    await source.hears("the edge to come again", (said) => said.do === "edge" && said.upTo === 1);
    source.letOut(2, "b");
    await source.hears("an acknowledgement", (said) => said.ack === 2);
    expect([came, edge.findings.torn]).toEqual([["source: a", "source: b"], 1]);
  });

  it("counts what any host says it has let out and never came, and names the first and the last", async () => {
    const { edge, source } = await stage();
    source.letOut(1, "a");
    await source.hears("an acknowledgement", (said) => said.ack === 1);
    edge.marked("source", 1);
    await edge.count();
    expect(edge.findings).toMatchObject({ missing: { count: 0 }, marks: [{ host: "source", frame: 1, came: true }] });
    edge.marked("source", 3);
    edge.marked("target", 2);
    expect(edge.findings.missing.count).toBe(0);
    await edge.count();
    const short = { missing: { count: 2, first: "frame 2", last: "frame 3" } };
    expect(edge.findings).toMatchObject(short);
    expect(edge.findings.marks.filter(({ came }) => !came)).toHaveLength(2);
    // What another migration lets out does not make up for it.
    edge.anew();
    await edge.count(false);
    expect(edge.findings).toMatchObject({ ...short, frames: 1 });
  });

  it("counts what is missing before a frame that was seen, whoever says what", async () => {
    const { edge, source } = await stage();
    source.letOut(1, "a");
    await source.hears("an acknowledgement", (said) => said.ack === 1);
    source.letOut(4, "d");
    await source.hears("the edge to come again", (said) => said.do === "edge" && said.upTo === 1);
    await edge.count(false);
    expect(edge.findings).toMatchObject({
      missing: { count: 3, first: "frame 2", last: "frame 4" },
      gaps: { count: 1, first: "frame 4 came from source after frame 1" },
    });
    source.letOut(2, "b");
    source.letOut(3, "c");
    source.letOut(4, "d");
    await source.hears("an acknowledgement", (said) => said.ack === 4);
    expect(edge.findings.missing).toEqual({ count: 0 });
  });

  it("waits for what is under way for as long as it comes", async () => {
    const { edge, source } = await stage();
    edge.marked("source", 4);
    const counted = edge.count();
    for (const frame of [1, 2, 3, 4]) {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      source.letOut(frame, "late");
    }
    await counted;
    expect(edge.findings.missing).toEqual({ count: 0 });
  }, 15_000);

  it("keeps no more than some megabytes of frames for a card whose agent reads nothing", async () => {
    const { edge, source } = await stage();
    source.pause();
    for (let i = 0; i < 2_000; i += 1) edge.type(2, Buffer.alloc(32 * 1024));
    // A serial line loses nothing.
    edge.type(1, Buffer.from("line"));
    source.resume();
    await source.hears("the line", (said) => said.type === Buffer.from("line").toString("base64"));
    // Of 64 MiB.
    const bytes = source.said.reduce((sum, { type }) => sum + (type?.length ?? 0), 0);
    expect(bytes).toBeGreaterThan(2 * 2 ** 20);
    expect(bytes).toBeLessThan(24 * 2 ** 20);
  });

  it("sees who has been succeeded, and who only says so", async () => {
    const { edge, source, target } = await stage();
    target.letOut(1, "a", 1, 1);
    await target.hears("an acknowledgement", (said) => said.ack === 1);
    expect(await edge.succeeded("none")).toBeUndefined();
    source.letOut(2, "b", 1, 3);
    await source.hears("an acknowledgement", (said) => said.ack === 2);
    expect(await edge.succeeded("source")).toEqual(["target"]);
    target.letOut(3, "c", 1, 1);
    await target.hears("an acknowledgement", (said) => said.ack === 3);
    expect(await edge.succeeded("source")).toEqual([]);
    expect(edge.findings.late).toMatchObject({
      count: 1,
      first: expect.stringContaining("frame 3 came from target in generation 1 when"),
    });
    // The newer generation lets the same out: it had it all along.
    source.letOut(3, "c", 1, 3);
    source.letOut(4, "d", 1, 3);
    await source.hears("an acknowledgement", (said) => said.ack === 4);
    expect(edge.findings.late.count).toBe(0);
    expect(await edge.succeeded("source")).toEqual(["target"]);
  });

  it("refuses a gap, and comes back to ask for what is missing", async () => {
    const { edge, source, came } = await stage();
    source.letOut(1, "a");
    await source.hears("an acknowledgement", (said) => said.ack === 1);
    source.letOut(3, "c");
    await source.hears("the edge to come again", (said) => said.do === "edge" && said.upTo === 1);
    expect(came).toEqual(["source: a"]);
    expect(edge.findings.gaps).toMatchObject({ count: 1, first: "frame 3 came from source after frame 1" });
  });

  it("gives a line what comes on its channel, and types into every host that can have the VM", async () => {
    const { edge, source, target } = await stage();
    const line = edge.line(1);
    const read: string[] = [];
    line.on("data", (bytes: Buffer) => read.push(bytes.toString()));
    line.write("hello");
    for (const agent of [source, target]) {
      await agent.hears("what was typed", (said) => said.type === Buffer.from("hello").toString("base64"));
    }
    target.letOut(1, "console", 0);
    target.letOut(2, "answer", 1);
    await target.hears("an acknowledgement", (said) => said.ack === 2);
    await waitFor({ what: "the answer", timeout_ms: 5_000 }, () => (read.length > 0 ? true : undefined));
    expect(read).toEqual(["answer"]);
  });
});
