import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { type Message, type Role, SWITCHOVER } from "../core/index.ts";
import { FrameDecoder, FrameEncoder } from "./frame.ts";
import { Handshake } from "./handshake.ts";
import { Peers } from "./peers.ts";

const HOST = "127.0.0.1";
const WAIT_MS = 10_000;
const SECRET = Buffer.alloc(32, 1);
const MIGRATION = Buffer.alloc(16, 2);
const CANCEL: Message = { kind: "cancel", attempt: 1 };
const proxies: Relay[] = [];

afterEach(() => {
  for (const proxy of proxies.splice(0)) proxy.close();
});

async function portOf(server: Server): Promise<number> {
  server.listen(0, HOST);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await portOf(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

type Look<T> = T | undefined | false;

async function until<T>(what: string, look: () => Look<T> | Promise<Look<T>>): Promise<T> {
  return await waitFor({ what, timeout_ms: WAIT_MS, interval_ms: 1 }, async () => (await look()) || undefined);
}

/** An agent's connections, and what came in by them. */
class Agent {
  readonly messages: { readonly from: Role; readonly message: Message; readonly body: string }[] = [];
  readonly data: { readonly from: Role; readonly payload: Buffer }[] = [];
  readonly log: string[] = [];
  readonly #peers: Peers<"words" | "bulk">;
  readonly port: number;

  constructor(
    role: Role,
    port: number,
    addresses: Partial<Record<Role, number>>,
    other: { readonly secret?: Buffer; readonly migration?: Buffer; readonly patience_ms?: number } = {},
  ) {
    this.port = port;
    this.#peers = new Peers<"words" | "bulk">({
      role,
      secret: SECRET,
      migration: MIGRATION,
      channels: { words: 64 * 1024, bulk: 8 * 2 ** 20 },
      patience_ms: 100,
      ...other,
      peers: Object.fromEntries(Object.entries(addresses).map(([peer, at]) => [peer, { host: HOST, port: at }])),
      listen: { host: HOST, port },
      onMessage: (from, message, body) => this.messages.push({ from, message, body: body.toString() }),
      onData: (from, payload) => {
        this.data.push({ from, payload: Buffer.from(payload) });
        return this.takes(from);
      },
      onLog: (line) => this.log.push(line),
    });
  }

  /** What whoever takes data waits for. */
  taking: Promise<void> | undefined;
  takes: (from: Role) => Promise<void> | undefined = () => this.taking;

  /** Words over the one channel, what has a body and data over the other. */
  get peers() {
    const peers = this.#peers;
    return {
      start: () => peers.start(),
      notHeard: (peer: Role) => peers.notHeard(peer),
      heardAgain: (peer: Role) => peers.heardAgain(peer),
      answerEscrow: (key: string) => peers.answerEscrow(key),
      send: (to: Role, message: Message, body: readonly Uint8Array[] = []) =>
        peers.send(to, body.length > 0 ? "bulk" : "words", message, body),
      sendLong: (to: Role, message: Message, body: readonly Uint8Array[], onMoves: () => void) =>
        peers.sendLong(to, "bulk", message, body, onMoves),
      sendData: (to: Role, pieces: readonly Uint8Array[], onDone?: () => void) =>
        peers.sendData(to, "bulk", pieces, onDone),
      connection: (to: Role) => peers.connection(to, "bulk"),
      drained: (to: Role, most_bytes: number) => peers.drained(to, "bulk", most_bytes),
    };
  }

  /** Both connections to that peer are there: one word and one byte have gone over them. */
  async reaches(to: Role): Promise<void> {
    await until(`the words to ${to}`, () => this.peers.send(to, CANCEL));
    await until(`the bulk to ${to}`, () => this.peers.sendData(to, [Buffer.of(0)]));
  }

  async heard(count: number): Promise<void> {
    await until(`${count} messages`, () => this.messages.length >= count);
  }

  get nothing(): boolean {
    return this.messages.length === 0 && this.data.length === 0;
  }
}

/** Between two agents: cuts, swallows, or holds back what is long. */
class Relay {
  port = 0;
  accepted = 0;
  /** "hole": takes everything and gives nothing on; "narrow": each connection carries so much and then stands. */
  mode: "open" | "hole" | "narrow" = "open";
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();

  private constructor(to: number) {
    proxies.push(this);
    this.#server = createServer((near) => {
      this.accepted += 1;
      near.on("error", () => near.destroy());
      if (this.mode === "hole") {
        near.resume();
        return;
      }
      const far = createConnection({ host: HOST, port: to });
      far.on("error", () => far.destroy());
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      let carried = 0;
      near.on("data", (chunk: Buffer) => {
        carried += chunk.length;
        far.write(chunk);
        if (this.mode === "narrow" && carried > 2 ** 20) near.pause();
      });
      far.on("data", (chunk: Buffer) => near.write(chunk));
      near.on("close", () => far.destroy());
      far.on("close", () => {
        near.destroy();
        this.#pairs.delete(pair);
      });
    });
  }

  static async to(port: number): Promise<Relay> {
    const proxy = new Relay(port);
    proxy.port = await portOf(proxy.#server);
    return proxy;
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  widen(): void {
    this.mode = "open";
    for (const [near] of this.#pairs) near.resume();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}

/** A source whose connections to a target lead nowhere. */
async function intoAHole(other: { patience_ms?: number }): Promise<{ source: Agent; target: Agent; proxy: Relay }> {
  const ports = [await freePort(), await freePort()] as const;
  const target = new Agent("target", ports[0], {});
  const proxy = await Relay.to(ports[0]);
  proxy.mode = "hole";
  const source = new Agent("source", ports[1], { target: proxy.port }, other);
  await Promise.all([target.peers.start(), source.peers.start()]);
  await until("the connections that lead nowhere", () => proxy.accepted >= 2);
  return { source, target, proxy };
}

/** A source that dials a target, both started. */
async function pair(dialled?: number, at?: number): Promise<{ source: Agent; target: Agent }> {
  const port = at ?? (await freePort());
  const target = new Agent("target", port, {});
  const source = new Agent("source", await freePort(), { target: dialled ?? port });
  await Promise.all([target.peers.start(), source.peers.start()]);
  return { source, target };
}

/** The same with a relay between them. */
async function pairByRelay(): Promise<{ source: Agent; target: Agent; proxy: Relay }> {
  const port = await freePort();
  const proxy = await Relay.to(port);
  return { ...(await pair(proxy.port, port)), proxy };
}

const PACKAGE: Message = {
  kind: "package",
  descriptor: SWITCHOVER,
  n: 0 as never,
  mark: 0 as never,
  acked: 0 as never,
};

describe("peers", () => {
  it("talk to each other in all directions: words, bodies and data, each kind in its order", async () => {
    const roles: readonly Role[] = ["source", "target", "escrow"];
    const ports = { source: await freePort(), target: await freePort(), escrow: await freePort() };
    const agents = roles.map((role) => {
      const { [role]: own, ...others } = ports;
      return { role, agent: new Agent(role, own, others) };
    });
    await Promise.all(agents.map(({ agent }) => agent.peers.start()));
    for (const { role, agent } of agents) for (const peer of roles) if (peer !== role) await agent.reaches(peer);
    for (const { agent } of agents) {
      await until("the first words", () => agent.messages.length === 2 && agent.data.length === 2);
    }
    for (const { agent } of agents) agent.messages.length = agent.data.length = 0;
    for (const { role, agent } of agents) {
      for (const peer of roles) {
        if (peer === role) continue;
        for (let n = 1; n <= 5; n += 1) {
          const word = { kind: "cancel" as const, attempt: n };
          expect(agent.peers.send(peer, word)).toBe(true);
          expect(agent.peers.send(peer, PACKAGE, [Buffer.from(`package ${n} of `), Buffer.from(role)])).toBe(true);
          expect(agent.peers.sendData(peer, [Buffer.from(`data ${n} `), Buffer.from(role)])).toBe(true);
        }
      }
    }
    for (const { role, agent } of agents) {
      await until(`all that ${role} is told`, () => agent.messages.length === 20 && agent.data.length === 10);
      for (const from of roles) {
        if (from === role) continue;
        const said = agent.messages.filter((each) => each.from === from);
        const bodies = said.filter(({ message }) => message.kind === "package").map(({ body }) => body);
        expect(bodies).toEqual([1, 2, 3, 4, 5].map((n) => `package ${n} of ${from}`));
        const words = said.flatMap(({ message }) => (message.kind === "cancel" ? [message.attempt] : []));
        expect(words).toEqual([1, 2, 3, 4, 5]);
        const data = agent.data.filter((each) => each.from === from).map(({ payload }) => payload.toString());
        expect(data).toEqual([1, 2, 3, 4, 5].map((n) => `data ${n} ${from}`));
      }
      expect(agent.log).toEqual([]);
    }
  });

  it("let nothing through that knows another secret, is of another migration, or is not who it should be", async () => {
    const others = [
      [{ secret: Buffer.alloc(32, 9) }, /does not know the secret/],
      [{ migration: Buffer.alloc(16, 9) }, /another migration/],
    ] as const;
    for (const [other, why] of others) {
      const ports = [await freePort(), await freePort()] as const;
      const good = new Agent("target", ports[0], { source: ports[1] });
      const bad = new Agent("source", ports[1], { target: ports[0] }, other);
      await Promise.all([good.peers.start(), bad.peers.start()]);
      // In both directions; who knocks again and again is told of once a second.
      await until("refusals", () => [good, bad].every(({ log }) => log.filter((line) => why.test(line)).length > 0));
      expect([good.peers.send("source", CANCEL), bad.peers.send("target", CANCEL)]).toEqual([false, false]);
      expect([good.peers.sendData("source", []), bad.peers.sendData("target", [])]).toEqual([false, false]);
      expect([good.nothing, bad.nothing]).toEqual([true, true]);
    }
    const [a, b] = [await freePort(), await freePort()];
    const source = new Agent("source", a, { target: b });
    const escrow = new Agent("escrow", b, {});
    await Promise.all([source.peers.start(), escrow.peers.start()]);
    await until("a refusal", () => source.log.some((line) => /escrow answers where target should be/.test(line)));
    expect([source.peers.send("target", CANCEL), escrow.nothing]).toEqual([false, true]);
  });

  it("end with whoever was the escrow when another one is, and go on with the others", async () => {
    const [a, b, c] = [await freePort(), await freePort(), await freePort()];
    const source = new Agent("source", a, { target: b, escrow: c });
    const target = new Agent("target", b, { source: a });
    const before = new Agent("escrow", c, { source: a });
    await Promise.all([source, target, before].map(({ peers }) => peers.start()));
    await source.reaches("target");
    await source.reaches("escrow");
    await before.reaches("source");
    source.peers.answerEscrow("another");
    expect(source.peers.send("escrow", CANCEL)).toBe(false);
    await until("the one before to be refused", () => !before.peers.send("source", CANCEL));
    await until("a refusal", () => source.log.some((line) => /does not know the secret/.test(line)));
    const heard = source.messages.length;
    expect(source.peers.send("target", CANCEL)).toBe(true);
    before.peers.answerEscrow("another");
    await source.reaches("escrow");
    await before.reaches("source");
    await source.heard(heard + 1);
  });

  it("end with whoever was the escrow even where it has proved itself and not said yet which channel that is", async () => {
    const [a, c] = [await freePort(), await freePort()];
    const source = new Agent("source", a, { escrow: c });
    await source.peers.start();
    const socket = createConnection({ host: HOST, port: a, noDelay: true });
    socket.on("error", () => undefined);
    const gone = once(socket, "close");
    const handshake = new Handshake({
      role: "escrow",
      side: "initiator",
      peer: "source",
      secretOf: () => SECRET,
      migration: MIGRATION,
    });
    const [decoder, encoder] = [new FrameDecoder({ types: ["hello", "auth"], length_max: 256 }), new FrameEncoder()];
    const say = (pieces: readonly Uint8Array[]): void => {
      for (const piece of pieces) socket.write(piece);
    };
    let proved = false;
    socket.on("data", (chunk: Buffer) => {
      decoder.push(chunk);
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        const next = handshake.receive(frame);
        if ("auth" in next) say(encoder.encode("auth", [next.auth]));
        else {
          encoder.secure(next.session.sendKey);
          proved = true;
        }
      }
    });
    say(encoder.encode("hello", [handshake.hello()]));
    await until("the proof", () => proved);
    // Its proof has been read where what came later by other connections was.
    for (let round = 0; round < 3; round += 1) {
      const other = createConnection({ host: HOST, port: a });
      await once(other, "data");
      other.destroy();
    }
    expect(socket.closed).toBe(false);
    source.peers.answerEscrow("another");
    await gone;
    expect(source.nothing).toBe(true);
  });

  it("close connections that bring garbage, or nothing, and go on for those who are welcome", async () => {
    const { source, target } = await pair();
    await source.reaches("target");
    await until("the first words", () => target.messages.length === 1 && target.data.length === 1);
    const closed = async (first: Uint8Array): Promise<void> => {
      const socket = createConnection({ host: HOST, port: target.port });
      socket.on("error", () => socket.destroy()).resume();
      const gone = once(socket, "close");
      socket.write(first);
      await gone;
    };
    const before = [target.messages.length, target.data.length];
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 8, maxLength: 300 }), async (garbage) => {
        // Not the beginning of a frame, which would be waited for.
        garbage[0] = 0;
        await closed(garbage);
      }),
      { numRuns: 50 },
    );
    const hello = Buffer.concat(new FrameEncoder().encode("hello", [Buffer.alloc(49)]));
    const message = Buffer.concat(new FrameEncoder().encode("message", [Buffer.alloc(20)]));
    await Promise.all([closed(hello), closed(message), closed(hello.subarray(0, 20)), closed(Buffer.of(0x46))]);
    expect([target.messages.length, target.data.length]).toEqual(before);
    expect(source.peers.send("target", PACKAGE, [Buffer.from("still there")])).toBe(true);
    await until("the package", () => target.messages.some(({ body }) => body === "still there"));
  });

  it("dial again when a connection is cut, as often as it is", async () => {
    const { source, target, proxy } = await pairByRelay();
    for (let round = 1; round <= 3; round += 1) {
      await source.reaches("target");
      expect(source.peers.send("target", PACKAGE, [Buffer.from(`round ${round}`)])).toBe(true);
      await until(`round ${round}`, () => target.messages.some(({ body }) => body === `round ${round}`));
      expect(proxy.accepted).toBe(2 * round);
      proxy.cut();
      await until("the end of both connections", () => {
        return !source.peers.send("target", CANCEL) && !source.peers.sendData("target", [Buffer.of(1)]);
      });
    }
  });

  it("drop what is for somebody who is not there, and say so", async () => {
    const ports = [await freePort(), await freePort()] as const;
    const source = new Agent("source", ports[0], { target: ports[1] });
    await source.peers.start();
    expect(source.peers.send("target", PACKAGE, [Buffer.from("too early")])).toBe(false);
    expect(source.peers.sendData("target", [Buffer.from("too early")])).toBe(false);
    expect(source.peers.connection("target")).toBeUndefined();
    expect(() => source.peers.send("escrow", CANCEL)).toThrow(/no address of escrow/);
    const target = new Agent("target", ports[1], { source: ports[0] });
    await target.peers.start();
    await source.reaches("target");
    expect(source.peers.send("target", PACKAGE, [Buffer.from("now")])).toBe(true);
    await until("the package", () => target.messages.some(({ message }) => message.kind === "package"));
    expect(target.messages.flatMap(({ message, body }) => (message.kind === "package" ? [body] : []))).toEqual(["now"]);
    expect(target.data.every(({ payload }) => payload.length === 1)).toBe(true);
  });

  it("say words while something long stands before them", async () => {
    const { source, target, proxy } = await pairByRelay();
    await source.reaches("target");
    await until("the first words", () => target.messages.length === 1 && target.data.length === 1);
    target.messages.length = target.data.length = 0;
    // Longer than all buffers between here and there.
    proxy.mode = "narrow";
    const long = Array.from({ length: 18 }, (_, i) => Buffer.alloc(2 * 2 ** 20, i + 1));
    for (const each of long) expect(source.peers.sendData("target", [each])).toBe(true);
    for (let i = 0; i < 20; i += 1) expect(source.peers.send("target", CANCEL)).toBe(true);
    await target.heard(20);
    expect(target.data.length).toBeLessThan(long.length);
    let drained = 0;
    const warnings: Error[] = [];
    const warned = (warning: Error): void => void warnings.push(warning);
    process.on("warning", warned);
    // More than Node lets listen to one socket without a word.
    for (let i = 0; i < 20; i += 1)
      void source.peers.drained("target", 2 ** 20).then(() => {
        drained += 1;
      });
    await target.heard(20);
    expect(drained).toBe(0);
    proxy.widen();
    await until("all that is long", () => target.data.length === long.length);
    expect(target.data.every(({ payload }, i) => payload.equals(long[i] ?? Buffer.alloc(0)))).toBe(true);
    await until("an empty backlog", () => drained === 20);
    process.off("warning", warned);
    expect(warnings).toEqual([]);
  });

  it("say when memory may be used again: once, sent or not", async () => {
    const { source, target, proxy } = await pairByRelay();
    const done = [0, 0, 0];
    const count = (which: number) => () => {
      done[which] = (done[which] ?? 0) + 1;
    };
    await source.reaches("target");
    expect(source.peers.sendData("target", [Buffer.alloc(100_000, 1), Buffer.alloc(100_000, 2)], count(1))).toBe(true);
    await until("what was sent", () => done[1] === 1 && target.data.some(({ payload }) => payload.length === 200_000));
    proxy.mode = "narrow";
    for (let i = 0; i < 18; i += 1) source.peers.sendData("target", [Buffer.alloc(2 * 2 ** 20)], count(2));
    proxy.close();
    await until("what never was", () => done[2] === 18);
    await until("the connection's end", () => source.peers.connection("target") === undefined);
    expect(source.peers.sendData("target", [Buffer.of(1)], count(0))).toBe(false);
    expect(done).toEqual([1, 1, 18]);
  });

  it("take no more connections than there may be, and those that ended make room", async () => {
    const { target } = await pairByRelay();
    for (let round = 0; round < 2; round += 1) {
      const knocking = Array.from({ length: 40 }, () => createConnection({ host: HOST, port: target.port }));
      const greeted = new Set<Socket>();
      for (const socket of knocking) {
        socket.on("error", () => undefined);
        socket.once("data", () => greeted.add(socket));
      }
      await until("the others to be sent away", () => knocking.filter(({ destroyed }) => destroyed).length >= 8);
      expect(greeted.size).toBeGreaterThan(0);
      expect(greeted.size).toBeLessThanOrEqual(32);
      for (const socket of knocking) socket.destroy();
    }
  });

  it("send what is long as the connection takes it, and nothing into its middle", async () => {
    const { source, target, proxy } = await pairByRelay();
    await source.reaches("target");
    await until("the first words", () => target.messages.length === 1 && target.data.length === 1);
    // Longer than all buffers between here and there: nothing behind it is taken.
    proxy.mode = "narrow";
    const before = Array.from({ length: 18 }, (_, i) => Buffer.alloc(2 * 2 ** 20, i + 1));
    for (const each of before) expect(source.peers.sendData("target", [each])).toBe(true);
    const body = Buffer.alloc(3 * 2 ** 20, "package ");
    let moves = 0;
    const send = (): Promise<boolean> => source.peers.sendLong("target", PACKAGE, [body], () => (moves += 1));
    const sent = send();
    expect(await send()).toBe(false);
    expect(source.peers.sendData("target", [Buffer.of(1)])).toBe(false);
    expect([moves, target.messages.length]).toEqual([0, 1]);
    proxy.widen();
    expect(await sent).toBe(true);
    expect(moves).toBeGreaterThan(2);
    await until("all of it", () => target.messages.some((each) => each.body === body.toString()));
    expect(source.peers.sendData("target", [Buffer.of(2)])).toBe(true);
    await until("what comes after it", () => target.data.length === 20);
    // One that was cut is nobody's; the next connection takes another.
    proxy.mode = "narrow";
    for (const each of before) source.peers.sendData("target", [each]);
    const lost = send();
    proxy.cut();
    expect(await lost).toBe(false);
    await until("another connection", () => source.peers.sendData("target", [Buffer.of(3)]));
    target.messages.length = 0;
    proxy.mode = "open";
    await until("it, by a connection that carries it", async () => {
      proxy.widen();
      return (await send()) && target.messages.some((each) => each.body === body.toString());
    });
  });

  it("read no more of a connection while whoever takes it is busy, and of the others all the same", async () => {
    const { source, target } = await pair();
    await source.reaches("target");
    await until("the first words", () => target.messages.length === 1 && target.data.length === 1);
    const { promise, resolve } = Promise.withResolvers<void>();
    target.taking = promise;
    for (let i = 0; i < 50; i += 1) expect(source.peers.sendData("target", [Buffer.of(i)])).toBe(true);
    for (let i = 0; i < 20; i += 1) expect(source.peers.send("target", CANCEL)).toBe(true);
    await target.heard(21);
    expect(target.data.length).toBeLessThanOrEqual(2);
    target.taking = undefined;
    resolve();
    await until("the rest, in order", () => target.data.length === 51);
    expect(target.data.slice(1).map(({ payload }) => payload[0])).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it("serve every connection in its turn: one on which much comes does not stand before the others", async () => {
    const port = await freePort();
    const escrow = new Agent("escrow", port, {});
    const source = new Agent("source", await freePort(), { escrow: port });
    const target = new Agent("target", await freePort(), { escrow: port });
    await Promise.all([escrow.peers.start(), source.peers.start(), target.peers.start()]);
    await Promise.all([source.reaches("escrow"), target.reaches("escrow")]);
    await until("the first bytes", () => escrow.data.length === 2);
    escrow.data.length = 0;
    // Each piece of the one is taken before the next is read; of the other all is there at once.
    escrow.takes = (from) => (from === "target" ? new Promise((resolve) => void setImmediate(resolve)) : undefined);
    const block = Buffer.alloc(256 * 1024);
    for (let i = 0; i < 64; i += 1) source.peers.sendData("escrow", [block]);
    for (let i = 0; i < 24; i += 1) target.peers.sendData("escrow", [block]);
    await until("all pieces", () => escrow.data.filter(({ from }) => from === "target").length === 24);
    const at = escrow.data.flatMap(({ from }, i) => (from === "target" ? [i] : []));
    const between = at.map((i, n) => i - (at[n - 1] ?? i) - 1);
    expect(Math.max(...between)).toBeLessThanOrEqual(4);
    await until("the rest", () => escrow.data.length === 64 + 24);
  });

  it("make connections anew that lead nowhere, once the peer is not heard", async () => {
    const { source, target, proxy } = await intoAHole({ patience_ms: 1_000 });
    source.peers.notHeard("target");
    expect(proxy.accepted).toBe(2);
    expect(source.peers.send("target", CANCEL)).toBe(false);
    proxy.mode = "open";
    await until("new connections", () => {
      source.peers.notHeard("target");
      return source.peers.send("target", CANCEL) && source.peers.sendData("target", [Buffer.of(7)]);
    });
    await until("what was said on them", () => target.messages.length > 0 && target.data.length > 0);
  });

  it("make connections anew that lead nowhere though the peer is heard: what was said on them is lost", async () => {
    const { source, target, proxy } = await intoAHole({});
    proxy.mode = "open";
    // Nobody says anything: the other channel may be well.
    await source.reaches("target");
    await until("what was said", () => target.messages.length > 0 && target.data.length > 0);
  });

  it("make connections anew at once when the peer is heard again", async () => {
    const { source, proxy } = await intoAHole({ patience_ms: 600_000 });
    proxy.mode = "open";
    source.peers.heardAgain("target");
    await source.reaches("target");
    const { accepted } = proxy;
    // What is up stays.
    source.peers.heardAgain("target");
    await source.reaches("target");
    expect(proxy.accepted).toBe(accepted);
  });
});
