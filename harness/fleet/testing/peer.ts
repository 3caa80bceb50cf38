import type { Socket } from "node:net";
import { createInterface } from "node:readline";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor, within } from "../../base/wait.ts";
import type { StartedHost } from "../host.ts";
import { linkAddress } from "../links.ts";
import { PORTS } from "../ports.ts";
import type { HostProcess } from "../process.ts";

/** One TCP connection as the program on the host sees it. */
export interface ConnectionState {
  readonly received: number;
  /** How many reads it took. */
  readonly reads: number;
  readonly received_hash: string;
  readonly sent: number;
  readonly sent_hash: string;
  /** The other end closed (FIN). */
  readonly ended: boolean;
  readonly closed: boolean;
  readonly error: string | null;
}

/** The program that runs on the host, under the host's own Node: opens and takes connections as it is told. */
const PROGRAM = String.raw`
const net = require("node:net");
const { createHash, randomBytes } = require("node:crypto");
const connections = new Map();
const accepted = [];
let server;
function track(socket, echo) {
  const c = { id: connections.size + 1, socket, received: 0, reads: 0, in: createHash("sha256"),
    sent: 0, out: createHash("sha256"), ended: false, closed: false, error: null };
  connections.set(c.id, c);
  socket.setNoDelay(true);
  c.echo = echo;
  socket.on("data", (data) => { c.received += data.length; c.reads++; c.in.update(data); if (c.echo) socket.write(data); });
  socket.on("end", () => { c.ended = true; });
  socket.on("close", () => { c.closed = true; });
  socket.on("error", (error) => { c.error = error.code; });
  return c;
}
const calls = {
  listen: ({ port, echo }) => new Promise((resolve, reject) => {
    server = net.createServer({ allowHalfOpen: true }, (socket) => accepted.push(track(socket, echo).id));
    server.on("error", reject).listen(port, "0.0.0.0", () => resolve(true));
  }),
  accepted: () => accepted.splice(0),
  dial: ({ host, port, timeout_ms }) => new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, allowHalfOpen: true });
    const timer = setTimeout(() => { socket.destroy(); reject(new Error("timeout")); }, timeout_ms);
    socket.once("connect", () => { clearTimeout(timer); socket.off("error", reject); resolve(track(socket, false).id); });
    socket.once("error", reject);
    socket.once("error", () => clearTimeout(timer));
  }),
  send: ({ id, bytes }) => {
    const c = connections.get(id);
    const data = randomBytes(bytes);
    c.sent += bytes; c.out.update(data); c.socket.write(data);
    return true;
  },
  echo: ({ id }) => { connections.get(id).echo = true; return true; },
  pause: ({ id }) => { connections.get(id).socket.pause(); return true; },
  resume: ({ id }) => { connections.get(id).socket.resume(); return true; },
  end: ({ id }) => { connections.get(id).socket.end(); return true; },
  destroy: ({ id }) => { connections.get(id).socket.destroy(); return true; },
  state: ({ id }) => {
    const c = connections.get(id);
    return { received: c.received, reads: c.reads, received_hash: c.in.copy().digest("hex"), sent: c.sent,
      sent_hash: c.out.copy().digest("hex"), ended: c.ended, closed: c.closed, error: c.error };
  },
  roundTrips: async ({ id, count }) => {
    const { socket } = connections.get(id);
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      const answered = new Promise((resolve) => socket.once("data", resolve));
      socket.write("x");
      await answered;
    }
    return performance.now() - began;
  },
  resolve: ({ name }) => require("node:dns").promises.lookup(name).then(({ address }) => address),
};
net.createServer((control) => {
  let text = "";
  control.setEncoding("utf8").on("error", () => {}).on("data", (data) => {
    const lines = (text + data).split("\n");
    text = lines.pop();
    for (const line of lines) {
      const { number, call, argument } = JSON.parse(line);
      Promise.resolve().then(() => calls[call](argument)).then(
        (value) => control.write(JSON.stringify({ number, value }) + "\n"),
        (error) => control.write(JSON.stringify({ number, error: error.code ?? error.message }) + "\n"),
      );
    }
  });
}).listen(Number(process.argv[1]), "0.0.0.0", () => console.log("ready"));
`;

/** A program on a host that the test tells, over the management network, what to do with its connections. */
export class Peer implements Disposable {
  readonly host: StartedHost;
  readonly process: HostProcess;
  readonly #socket: Socket;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #number = 0;

  private constructor(host: StartedHost, started: HostProcess, socket: Socket) {
    this.host = host;
    this.process = started;
    this.#socket = socket;
    socket.on("error", () => undefined);
    createInterface(socket).on("line", (line) => {
      const answer = JSON.parse(line) as { number: number; value?: unknown; error?: string };
      const waiting = this.#waiting.get(answer.number);
      this.#waiting.delete(answer.number);
      if (answer.error === undefined) waiting?.resolve(answer.value);
      else waiting?.reject(new Error(answer.error));
    });
  }

  /** Starts the program, which takes whatever comes on the host's link port; with `echo` it sends it back. */
  static async start(host: StartedHost, options: { readonly echo: boolean } = { echo: false }): Promise<Peer> {
    const started = await host.spawn(["/opt/ferryman/bin/node", "-e", PROGRAM, String(PORTS.agent)]);
    const ready = new Promise<void>((resolve) => {
      started.onLine((line) => {
        if (line === "ready") resolve();
      });
    });
    await within(
      { what: `the test program on ${host.role}`, timeout_ms: 20_000, lastLines: () => started.lastLines() },
      ready,
    );
    const peer = new Peer(host, started, await host.connect(PORTS.agent));
    await peer.call("listen", { port: PORTS.link, echo: options.echo });
    return peer;
  }

  async call<T>(call: string, argument: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const number = ++this.#number;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(number, { resolve, reject }));
    this.#socket.write(`${JSON.stringify({ number, call, argument })}\n`);
    return (await within(
      { what: `${call} on ${this.host.role}`, timeout_ms: 20_000, lastLines: () => this.process.lastLines() },
      answer,
    )) as T;
  }

  state(id: number): Promise<ConnectionState> {
    return this.call<ConnectionState>("state", { id });
  }

  /** Waits until a connection is as `wanted` says. */
  until(id: number, what: string, wanted: (state: ConnectionState) => boolean): Promise<ConnectionState> {
    return waitFor({ what: `${what} on ${this.host.role}`, timeout_ms: 20_000 }, async () => {
      const state = await this.state(id);
      return wanted(state) ? state : undefined;
    });
  }

  /** Opens a connection over the link to another host. @throws Error whose message is the socket's error code. */
  dial(to: HostRole, timeout_ms = 3_000): Promise<number> {
    return this.dialAddress(linkAddress(this.host.role, to), timeout_ms);
  }

  dialAddress(address: { readonly host: string; readonly port: number }, timeout_ms = 3_000): Promise<number> {
    return this.call<number>("dial", { ...address, timeout_ms });
  }

  /** The number of the connection that came in last. */
  async took(): Promise<number> {
    return waitFor({ what: `a connection to come in on ${this.host.role}`, timeout_ms: 10_000 }, async () =>
      (await this.call<number[]>("accepted")).at(-1),
    );
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.process[Symbol.dispose]();
  }
}

/** A connection from one to the other over the link between them: its number at either end. */
export async function connect(from: Peer, to: Peer): Promise<{ readonly near: number; readonly far: number }> {
  await to.call("accepted");
  const near = await from.dial(to.host.role);
  return { near, far: await to.took() };
}
