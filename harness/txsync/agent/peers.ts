import { createConnection, createServer, type Socket } from "node:net";
import { messageOf } from "../../base/errors.ts";
import type { Message, Role } from "../core/index.ts";
import {
  channelHello,
  decodeMessage,
  encodeMessage,
  FrameDecoder,
  FrameEncoder,
  Handshake,
  LENGTH_MAX,
  LogLimit,
  readChannel,
} from "../wire/index.ts";

/**
 * How an agent talks to the two others. Each agent opens two connections to each peer and only sends on them: one for
 * words, one for what is long (records, packages, pages), so that a heartbeat never waits behind pages. What comes in,
 * comes on the peer's own connections. Nothing is kept for a peer that is not there: the core says it again.
 */
export type Channel = "words" | "bulk";
const CHANNELS: readonly Channel[] = ["words", "bulk"];
/** Longest payload, bytes: a word whose length is broken on the way must not swallow those behind it. */
const CHANNEL_LENGTH_MAX: Readonly<Record<Channel, number>> = { words: 64 * 1024, bulk: LENGTH_MAX.message };
const HANDSHAKE_LENGTH_MAX = 256;
/** Two peers, their channels, some that are dead ends, and some that are nobody's yet. */
const CONNECTIONS_MAX = 32;
const REFUSALS = { lines: 10, per_ms: 10_000 };
const REDIAL_MS = 50;
/** Nobody who is not authentic by then may keep a connection. */
const HANDSHAKE_MS = 1_000;

export interface PeersOptions {
  readonly role: Role;
  readonly secret: Buffer;
  readonly migration: Buffer;
  readonly peers: Readonly<Partial<Record<Role, { readonly host: string; readonly port: number }>>>;
  readonly listen: { readonly host: string; readonly port: number };
  /** A connection that is still being made, or leads nowhere, is given up after so long. */
  readonly patience_ms: number;
  readonly onMessage: (from: Role, message: Message, body: Buffer) => void;
  readonly onData: (from: Role, payload: Buffer) => void;
  readonly onLog: (line: string) => void;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #lines = new Map<string, Line>();
  readonly #incoming = new Map<string, Socket>();
  readonly #refusals = new LogLimit(REFUSALS);

  constructor(options: PeersOptions) {
    this.#options = options;
    for (const peer of Object.keys(options.peers) as Role[]) {
      for (const channel of CHANNELS) this.#lines.set(`${peer}:${channel}`, new Line(options, peer, channel));
    }
  }

  async start(): Promise<void> {
    const { listen } = this.#options;
    const server = createServer((socket) => this.#accept(socket));
    server.maxConnections = CONNECTIONS_MAX;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(listen.port, listen.host, resolve);
    });
    for (const line of this.#lines.values()) line.dial();
  }

  /** @returns whether there was a connection to send it on; whether it arrives nobody knows. */
  send(to: Role, message: Message, body: readonly Uint8Array[] = []): boolean {
    const channel = message.kind === "append" || message.kind === "package" ? "bulk" : "words";
    return this.#line(to, channel).send("message", encodeMessage(message, body));
  }

  /**
   * What goes on one channel arrives in order; what is urgent, and so short that it holds no word up, goes with the words
   * and past everything that is long.
   */
  sendData(to: Role, pieces: readonly Uint8Array[], channel: Channel = "bulk"): boolean {
    return this.#line(to, channel).send("data", pieces);
  }

  /** Bytes that wait to be sent on the bulk connection. */
  backlog(to: Role): number {
    return this.#line(to, "bulk").backlog;
  }

  /** The peer is not heard: connections that have had their time are made anew. */
  notHeard(peer: Role): void {
    for (const channel of CHANNELS) this.#line(peer, channel).renew();
  }

  #line(to: Role, channel: Channel): Line {
    const line = this.#lines.get(`${to}:${channel}`);
    if (line === undefined) throw new Error(`the configuration names no address of ${to}`);
    return line;
  }

  #accept(socket: Socket): void {
    socket.setNoDelay(true);
    const decoder = new FrameDecoder({ length_max: HANDSHAKE_LENGTH_MAX });
    const encoder = new FrameEncoder();
    const handshake = new Handshake({ ...this.#options, side: "acceptor" });
    let peer: Role | undefined;
    let channel: Channel | undefined;
    const deadline = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    const close = (why: string): void => {
      const line = `a connection${peer === undefined ? "" : ` from ${peer}`} was closed: ${why}`;
      const said = this.#refusals.say(line, performance.now());
      if (said !== null) this.#options.onLog(said);
      socket.destroy();
    };
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(deadline);
      const key = `${peer}:${channel}`;
      if (this.#incoming.get(key) === socket) this.#incoming.delete(key);
    });
    writeAll(socket, encoder.encode("hello", [handshake.hello()]));
    socket.on("data", (chunk: Buffer) => {
      try {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          if (peer === undefined) {
            const next = handshake.receive(frame);
            if ("auth" in next) {
              writeAll(socket, encoder.encode("auth", [next.auth]));
              continue;
            }
            peer = next.session.peer;
            decoder.secure(next.session.receiveKey);
            clearTimeout(deadline);
          } else if (channel === undefined) {
            channel = readChannel(frame, CHANNELS);
            decoder.limit(CHANNEL_LENGTH_MAX[channel]);
            // The newest connection counts: an older one may be a dead end that nobody has noticed.
            this.#incoming.get(`${peer}:${channel}`)?.destroy();
            this.#incoming.set(`${peer}:${channel}`, socket);
          } else if (frame.type === "message") {
            const { message, body } = decodeMessage(frame.payload);
            this.#options.onMessage(peer, message, body);
          } else if (frame.type === "data") this.#options.onData(peer, frame.payload);
        }
      } catch (error) {
        close(messageOf(error));
      }
    });
  }
}

/** One connection to one peer, made again whenever it is gone. */
class Line {
  readonly #options: PeersOptions;
  readonly #peer: Role;
  readonly #channel: Channel;
  #socket: Socket | undefined;
  #encoder: FrameEncoder | undefined;
  #dialled_ms = 0;
  #again: NodeJS.Timeout | undefined;

  constructor(options: PeersOptions, peer: Role, channel: Channel) {
    this.#options = options;
    this.#peer = peer;
    this.#channel = channel;
  }

  get backlog(): number {
    return this.#socket?.writableLength ?? 0;
  }

  send(type: "message" | "data", pieces: readonly Uint8Array[]): boolean {
    if (this.#encoder === undefined || this.#socket === undefined) return false;
    writeAll(this.#socket, this.#encoder.encode(type, pieces));
    return true;
  }

  renew(): void {
    if (performance.now() - this.#dialled_ms < this.#options.patience_ms) return;
    this.#socket?.destroy();
    this.dial();
  }

  dial(): void {
    clearTimeout(this.#again);
    const address = this.#options.peers[this.#peer];
    if (address === undefined) return;
    this.#dialled_ms = performance.now();
    const socket = createConnection({ ...address, noDelay: true });
    this.#socket = socket;
    this.#encoder = undefined;
    const encoder = new FrameEncoder();
    const decoder = new FrameDecoder({ types: ["hello", "auth"], length_max: HANDSHAKE_LENGTH_MAX });
    const handshake = new Handshake({ ...this.#options, side: "initiator", peer: this.#peer });
    socket.once("connect", () => writeAll(socket, encoder.encode("hello", [handshake.hello()])));
    socket.on("data", (chunk: Buffer) => {
      try {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          const next = handshake.receive(frame);
          if ("auth" in next) writeAll(socket, encoder.encode("auth", [next.auth]));
          else {
            encoder.secure(next.session.sendKey);
            writeAll(socket, encoder.encode("data", [channelHello(this.#channel)]));
            if (this.#socket === socket) this.#encoder = encoder;
          }
        }
      } catch (error) {
        this.#options.onLog(`the connection to ${this.#peer} was closed: ${messageOf(error)}`);
        socket.destroy();
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#encoder = undefined;
      clearTimeout(this.#again);
      this.#again = setTimeout(() => this.dial(), REDIAL_MS);
    });
  }
}

function writeAll(socket: Socket, pieces: readonly Uint8Array[]): void {
  socket.cork();
  for (const piece of pieces) socket.write(piece);
  process.nextTick(() => socket.uncork());
}
