import { createConnection, createServer, type Socket } from "node:net";
import { messageOf } from "../../base/errors.ts";
import type { Message, Role } from "../core/index.ts";
import { BufferPool } from "./buffer-pool.ts";
import { channelHello, readChannel } from "./channel.ts";
import { Dialling, REDIAL_MS } from "./dialling.ts";
import { FrameDecoder, FrameEncoder } from "./frame.ts";
import { Handshake, SECRET_BYTES, secretWith } from "./handshake.ts";
import { LogLimit } from "./log-limit.ts";
import { decodeMessage, encodeMessage } from "./message.ts";
import { readInto } from "./read-into.ts";
import { READ_BYTES, Turn } from "./turn.ts";

/**
 * How the parts of agents talk. Each opens its own connections to each peer, one a channel, and only sends on them; what
 * comes in, comes on the peer's own connections. So what is short never waits behind what is long. Nothing is kept for a
 * peer that is not there: whoever has something to say says it again. When a connection is given up says `Dialling`, how much
 * of one is read before the next `Turn`.
 */

/** Nobody who is not authentic by then, or has not said which channel it is, may keep a connection. */
const HANDSHAKE_MS = 1_000;
const HANDSHAKE_LENGTH_MAX = 256;
/** Two peers, their channels, some that are dead ends, and some that are nobody's yet. */
const CONNECTIONS_MAX = 32;
/** Whoever knocks cannot fill a log. */
const REFUSALS = { lines: 10, per_ms: 10_000 };
const DRAIN_LOOK_MS = 250;
/** Of what is long so much is handed to a connection at a time. */
const LONG_PIECE_BYTES = 64 * 1024;
/** A run of 64 pages, or a piece of a record, with what stands around it. */
const POOLED_BYTES = 264 * 1024;
/** So many of them are kept: what waits in two connections for the network, and what is being taken. */
const POOLED_MOST = 24;

export interface PeersOptions<Channel extends string> {
  readonly role: Role;
  readonly secret: Buffer;
  readonly migration: Buffer;
  /**
   * The channels, and the longest payload of each, bytes: one whose length is broken on the way must not swallow those
   * behind it.
   */
  readonly channels: Readonly<Record<Channel, number>>;
  readonly peers: Readonly<Partial<Record<Role, { readonly host: string; readonly port: number }>>>;
  readonly listen: { readonly host: string; readonly port: number };
  /** A connection that is still being made, or leads nowhere, is given up after so long. */
  readonly patience_ms: number;
  readonly onMessage?: (from: Role, message: Message, body: Buffer) => void;
  /** While the promise that it returns is not settled, nothing more is read of that connection. */
  readonly onData?: (from: Role, payload: Buffer, channel: Channel) => Promise<void> | undefined;
  readonly onLog: (line: string) => void;
}

export class Peers<Channel extends string> {
  readonly #options: PeersOptions<Channel>;
  readonly #lines = new Map<string, Line>();
  readonly #incoming = new Map<string, Socket>();
  readonly #channels: readonly Channel[];
  readonly #refusals = new LogLimit(REFUSALS);
  /** Every connection that was taken, and who it is from as soon as that is proved. */
  readonly #accepted = new Map<Socket, Role | undefined>();
  readonly #read_into = Buffer.allocUnsafeSlow(READ_BYTES);
  /** The escrow's key, where it is not the first one that has this place. */
  #escrow: string | null = null;
  readonly #secretOf: (peer: Role) => Buffer;
  /**
   * For what is long: payloads that came are in buffers of it, and may be given back by whoever took them; what is to be
   * sent may be, and is given back when it was.
   */
  readonly buffers = new BufferPool(POOLED_BYTES, POOLED_MOST);

  constructor(options: PeersOptions<Channel>) {
    this.#options = options;
    this.#channels = Object.keys(options.channels) as Channel[];
    if (options.secret.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes`);
    this.#secretOf = (peer) => {
      const withEscrow = peer === "escrow" || options.role === "escrow";
      return withEscrow && this.#escrow !== null ? secretWith(options.secret, this.#escrow) : options.secret;
    };
    const secretOf = this.#secretOf;
    for (const peer of Object.keys(options.peers) as Role[]) {
      for (const channel of this.#channels)
        this.#lines.set(`${peer}:${channel}`, new Line({ ...options, secretOf }, peer, channel));
    }
  }

  /** From now on the escrow is who has this key, and nobody else: connections with whoever was it before end. */
  answerEscrow(key: string): void {
    if (key === this.#escrow) return;
    this.#escrow = key;
    const all = this.#options.role === "escrow";
    // Also one that has proved itself and not said yet which channel it is; who is to prove itself has to know the key.
    for (const [socket, peer] of this.#accepted) if (peer === "escrow" || (all && peer !== undefined)) socket.destroy();
    for (const [key, line] of this.#lines) if (all || key.startsWith("escrow:")) line.end();
  }

  async start(): Promise<void> {
    const { listen } = this.#options;
    // Read from when it is known how: see `readInto`.
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      if (this.#accepted.size >= CONNECTIONS_MAX) socket.destroy();
      else this.#accept(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(listen.port, listen.host, resolve);
    });
    for (const line of this.#lines.values()) line.dial();
  }

  /** @returns whether there was a connection to send it on; whether it arrives nobody knows. */
  send(to: Role, channel: Channel, message: Message, body: readonly Uint8Array[] = []): boolean {
    return this.#line(to, channel).send("message", encodeMessage(message, body));
  }

  /**
   * Sends one that is long on a channel of its own, in pieces, each when the connection has taken the one before it.
   * Nothing else is sent there meanwhile.
   * @param onMoves a piece was taken
   * @returns settles when the connection has taken all of it (true), or has ended; false also where there is none, or
   * another one is on its way there
   */
  async sendLong(
    to: Role,
    channel: Channel,
    message: Message,
    body: readonly Uint8Array[],
    onMoves: () => void,
  ): Promise<boolean> {
    return await this.#line(to, channel).sendLong(encodeMessage(message, body), onMoves);
  }

  /**
   * What goes on one channel arrives in order.
   * @param onDone called once, whatever comes of it, when the memory of the pieces may be used again
   * @returns as `send`
   */
  sendData(to: Role, channel: Channel, pieces: readonly Uint8Array[], onDone?: () => void): boolean {
    const sent = this.#line(to, channel).send("data", pieces, onDone);
    if (!sent) onDone?.();
    return sent;
  }

  /** Names the present connection of a channel; undefined while there is none. Another number: what was sent may be lost. */
  connection(to: Role, channel: Channel): number | undefined {
    return this.#line(to, channel).connection;
  }

  /** Settles when less than so many bytes wait to be sent there, or the connection is another one. */
  async drained(to: Role, channel: Channel, most_bytes: number): Promise<void> {
    await this.#line(to, channel).drained(most_bytes);
  }

  /** The peer is not heard: connections that have had their time are made anew. */
  notHeard(peer: Role): void {
    for (const channel of this.#channels) this.#line(peer, channel).renew();
  }

  /** The peer is heard again: what was dialled while it was not, and leads nowhere yet, is dialled anew at once. */
  heardAgain(peer: Role): void {
    for (const channel of this.#channels) this.#line(peer, channel).redialUnlessUp();
  }

  #line(to: Role, channel: Channel): Line {
    const line = this.#lines.get(`${to}:${channel}`);
    if (line === undefined) throw new Error(`the configuration names no address of ${to}`);
    return line;
  }

  #accept(accepted: Socket): void {
    const decoder = new FrameDecoder({ length_max: HANDSHAKE_LENGTH_MAX, buffers: this.buffers });
    const socket = readInto(accepted, this.#read_into, (bytes) => {
      decoder.push(bytes);
      void read();
      // What is next comes into the same memory.
      decoder.keep();
      if (!turn.took(bytes.length)) return;
      hold();
      setImmediate(() => {
        turn.begin();
        goOn();
      });
    });
    const turn = new Turn();
    let holds = 0;
    const hold = (): void => {
      holds += 1;
      if (holds === 1) socket.pause();
    };
    const goOn = (): void => {
      holds -= 1;
      if (holds === 0) socket.resume();
    };
    this.#accepted.set(socket, undefined);
    socket.setNoDelay(true);
    const encoder = new FrameEncoder();
    const handshake = new Handshake({ ...this.#options, secretOf: this.#secretOf, side: "acceptor" });
    let peer: Role | undefined;
    let channel: Channel | undefined;
    let reading = false;
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
      this.#accepted.delete(socket);
      const key = `${peer}:${channel}`;
      if (this.#incoming.get(key) === socket) this.#incoming.delete(key);
    });
    writeAll(socket, encoder.encode("hello", [handshake.hello()]));
    /** Takes the frames that are whole, one after the other; waits where whoever takes them asks for it. */
    const read = async (): Promise<void> => {
      if (reading) return;
      reading = true;
      try {
        for (let frame = decoder.next(); frame !== undefined && !socket.destroyed; frame = decoder.next()) {
          if (peer === undefined) {
            const next = handshake.receive(frame);
            if ("auth" in next) {
              writeAll(socket, encoder.encode("auth", [next.auth]));
              continue;
            }
            peer = next.session.peer;
            this.#accepted.set(socket, peer);
            decoder.secure(next.session.receiveKey);
          } else if (channel === undefined) {
            channel = readChannel(frame, this.#channels);
            clearTimeout(deadline);
            decoder.limit(this.#options.channels[channel]);
            // The newest connection counts: an older one may be a dead end that nobody has noticed.
            this.#incoming.get(`${peer}:${channel}`)?.destroy();
            this.#incoming.set(`${peer}:${channel}`, socket);
          } else if (frame.type === "message") {
            const { message, body } = decodeMessage(frame.payload);
            this.#options.onMessage?.(peer, message, body);
          } else if (frame.type === "data") {
            const taking = this.#options.onData?.(peer, frame.payload, channel);
            if (taking === undefined) continue;
            hold();
            await taking;
            goOn();
          }
        }
      } catch (error) {
        close(messageOf(error));
      } finally {
        reading = false;
      }
    };
  }
}

type LineOptions = Pick<PeersOptions<string>, "role" | "migration" | "peers" | "patience_ms" | "onLog"> & {
  readonly secretOf: (peer: Role) => Buffer;
};

/** One connection to one peer, made again whenever it is gone. */
class Line {
  readonly #options: LineOptions;
  readonly #peer: Role;
  readonly #channel: string;
  #socket: Socket | undefined;
  #encoder: FrameEncoder | undefined;
  #number = 0;
  /** Where something long is on its way: nothing may come into its middle. */
  #long: Socket | undefined;
  /** Who waits for room in the socket. */
  #waiting: { readonly socket: Socket; readonly less: Promise<void> } | undefined;
  #again: NodeJS.Timeout | undefined;
  readonly #dialling: Dialling;

  constructor(options: LineOptions, peer: Role, channel: string) {
    this.#options = options;
    this.#peer = peer;
    this.#channel = channel;
    this.#dialling = new Dialling(options.patience_ms);
  }

  get connection(): number | undefined {
    return this.#encoder === undefined ? undefined : this.#number;
  }

  send(type: "message" | "data", pieces: readonly Uint8Array[], onDone?: () => void): boolean {
    if (this.#encoder === undefined || this.#socket === undefined || this.#long === this.#socket) return false;
    writeAll(this.#socket, this.#encoder.encode(type, pieces), onDone);
    return true;
  }

  async sendLong(pieces: readonly Uint8Array[], onMoves: () => void): Promise<boolean> {
    const socket = this.#socket;
    if (this.#encoder === undefined || socket === undefined || this.#long === socket) return false;
    // What is too long for a message is found out before anything waits for it.
    const encoded = [...this.#encoder.encode("message", pieces)];
    this.#long = socket;
    for (const whole of encoded) {
      for (let at = 0; at < whole.length; at += LONG_PIECE_BYTES) {
        if (!(await taken(socket, whole.subarray(at, at + LONG_PIECE_BYTES)))) return false;
        onMoves();
      }
    }
    this.#long = undefined;
    return this.#socket === socket;
  }

  async drained(most_bytes: number): Promise<void> {
    const socket = this.#socket;
    while (socket !== undefined && this.#socket === socket && !socket.destroyed && socket.writableLength > most_bytes)
      await this.#less(socket);
  }

  /** Settles when less may wait in this socket than did. Many may wait for that: it is listened to once. */
  #less(socket: Socket): Promise<void> {
    if (this.#waiting?.socket === socket) return this.#waiting.less;
    const less = new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        socket.off("drain", done);
        socket.off("close", done);
        if (this.#waiting?.socket === socket) this.#waiting = undefined;
        resolve();
      };
      // A drain is told when nothing waits any more; less than `most_bytes` may come before it.
      const timer = setTimeout(done, DRAIN_LOOK_MS);
      socket.once("drain", done);
      socket.once("close", done);
    });
    this.#waiting = { socket, less };
    return less;
  }

  /** It is made again when it has ended. */
  end(): void {
    this.#encoder = undefined;
    this.#socket?.destroy();
  }

  renew(): void {
    if (this.#dialling.isOld(performance.now())) this.#redial();
  }

  redialUnlessUp(): void {
    this.#dialling.heardAgain();
    if (this.#encoder === undefined) this.#redial();
  }

  #redial(): void {
    this.#socket?.destroy();
    this.dial();
  }

  dial(): void {
    clearTimeout(this.#again);
    const address = this.#options.peers[this.#peer];
    if (address === undefined) return;
    const most_ms = this.#dialling.dialled(performance.now());
    const { host, port } = address;
    const socket = createConnection({ host, port, noDelay: true });
    this.#socket = socket;
    this.#encoder = undefined;
    const deadline = setTimeout(() => {
      this.#dialling.ledNowhere();
      socket.destroy();
    }, most_ms);
    const encoder = new FrameEncoder();
    const decoder = new FrameDecoder({ types: ["hello", "auth"], length_max: HANDSHAKE_LENGTH_MAX });
    const handshake = new Handshake({ ...this.#options, peer: this.#peer, side: "initiator" });
    socket.once("connect", () => writeAll(socket, encoder.encode("hello", [handshake.hello()])));
    socket.on("data", (chunk: Buffer) => {
      try {
        decoder.push(chunk);
        for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
          const next = handshake.receive(frame);
          if ("auth" in next) writeAll(socket, encoder.encode("auth", [next.auth]));
          else {
            clearTimeout(deadline);
            this.#dialling.isUp();
            encoder.secure(next.session.sendKey);
            writeAll(socket, encoder.encode("data", [channelHello(this.#channel)]));
            if (this.#socket !== socket) continue;
            this.#encoder = encoder;
            this.#number += 1;
          }
        }
      } catch (error) {
        this.#options.onLog(`the connection to ${this.#peer} was closed: ${messageOf(error)}`);
        socket.destroy();
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(deadline);
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#encoder = undefined;
      clearTimeout(this.#again);
      this.#again = setTimeout(() => this.dial(), REDIAL_MS);
    });
  }
}

/** @returns settles when the system has taken the bytes; false when the connection has ended instead. */
function taken(socket: Socket, bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    socket.write(bytes, (error) => resolve(error === undefined || error === null));
  });
}

/** @param onDone the system has taken them all, or never will */
function writeAll(socket: Socket, pieces: readonly Uint8Array[], onDone?: () => void): void {
  socket.cork();
  const last = pieces.length - 1;
  for (const [i, piece] of pieces.entries()) socket.write(piece, i === last ? onDone : undefined);
  process.nextTick(() => socket.uncork());
}
