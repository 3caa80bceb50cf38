import type { Socket } from "node:net";
import { NothingMovesError } from "../../base/errors.ts";
import { within } from "../../base/wait.ts";
import type { Backend } from "./backend.ts";
import {
  COMMAND,
  encodeRequest,
  HANDSHAKE_FLAGS,
  INFO,
  NBD_MAGIC,
  NbdError,
  OPTION,
  OPTION_MAGIC,
  OPTION_REPLY,
  OPTION_REPLY_MAGIC,
  REPLY_BYTES,
  REPLY_MAGIC,
  REQUEST_BYTES_MAX,
} from "./nbd.ts";
import { Taker } from "./taker.ts";

/** The server answered, and did not do it. */
export class NbdRequestError extends Error {
  override readonly name = "NbdRequestError";
}

/** The connection is gone; whether what was asked for was done is not known. */
export class NbdGoneError extends Error {
  override readonly name: string = "NbdGoneError";
}

/** So too where the connection is there, and nothing moves on it: NBD itself knows no time within which one answers. */
export class NbdSilentError extends NbdGoneError {
  override readonly name = "NbdSilentError";
}

interface Asked {
  readonly read_bytes: number;
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: Error) => void;
}

const OPTION_REPLY_BYTES_MAX = 64 * 1024;
/** What may be zeroed by one request: more takes a server long that has to write it. */
const ZERO_BYTES_MAX = 32 * REQUEST_BYTES_MAX;
/** How often it is looked within the time after which a silent connection is ended. */
const SILENCE_LOOKS = 10;

/** A disk that somebody else exports, over one connection. When that ends, everything asked for fails with NbdGoneError. */
export class NbdClient implements Backend {
  readonly size_bytes: number;
  readonly #socket: Socket;
  readonly #taker: Taker;
  readonly #asked = new Map<bigint, Asked>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #silent_ms: number | undefined;
  #watch: NodeJS.Timeout | undefined;
  #handles = 0n;
  #gone = false;
  #why = new NbdGoneError("the NBD connection is gone");

  private constructor(socket: Socket, taker: Taker, size_bytes: number, silent_ms: number | undefined) {
    this.#socket = socket;
    this.#taker = taker;
    this.size_bytes = size_bytes;
    this.#silent_ms = silent_ms;
    void this.#listen();
  }

  /**
   * @param socket connected; it is this client's from now on
   * @param silent_ms with something asked and nothing moving for so long the connection is ended; absent: never
   * @throws Error when there is no such export, or no answer in time
   */
  static async open(socket: Socket, name: string, timeout_ms: number, silent_ms?: number): Promise<NbdClient> {
    socket.on("error", () => undefined);
    socket.setNoDelay(true);
    const taker = new Taker(socket);
    try {
      const what = `the NBD server to export ${name}`;
      const size_bytes = await within({ what, timeout_ms }, negotiate(socket, taker, name));
      return new NbdClient(socket, taker, size_bytes, silent_ms);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Resolves when the connection has ended. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const into: Buffer[] = [];
    for (let done = 0; done < length; done += REQUEST_BYTES_MAX) {
      const bytes = Math.min(REQUEST_BYTES_MAX, length - done);
      into.push(await this.#ask(COMMAND.read, offset + done, bytes));
    }
    return into.length === 1 ? (into[0] as Buffer) : Buffer.concat(into);
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length; done += REQUEST_BYTES_MAX) {
      const piece = bytes.subarray(done, done + REQUEST_BYTES_MAX);
      await this.#ask(COMMAND.write, offset + done, piece.length, piece);
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; done += ZERO_BYTES_MAX)
      await this.#ask(COMMAND.write_zeroes, offset + done, Math.min(ZERO_BYTES_MAX, length - done));
  }

  async flush(): Promise<void> {
    await this.#ask(COMMAND.flush, 0, 0);
  }

  async close(): Promise<void> {
    if (!this.#gone)
      this.#socket.end(encodeRequest({ flags: 0, command: COMMAND.disconnect, handle: 0n, offset: 0, length: 0 }));
    this.#socket.destroySoon();
    await this.closed;
  }

  /** Ends the connection at once: what is asked for fails. */
  cut(): void {
    this.#socket.destroy();
  }

  #ask(command: number, offset: number, length: number, payload?: Buffer): Promise<Buffer> {
    if (this.#gone) return Promise.reject(this.#why);
    const handle = this.#handles++;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    this.#asked.set(handle, { read_bytes: command === COMMAND.read ? length : 0, resolve, reject });
    // In one go: whatever lies between carries pieces, and each takes its time.
    this.#socket.cork();
    this.#socket.write(encodeRequest({ flags: 0, command, handle, offset, length }));
    if (payload !== undefined) this.#socket.write(payload);
    this.#socket.uncork();
    this.#watchSilence();
    return promise;
  }

  /** Whatever comes, and whatever is taken of what was sent, is no silence: a slow link may be at one request for long. */
  #watchSilence(): void {
    const silent_ms = this.#silent_ms;
    if (silent_ms === undefined || this.#watch !== undefined) return;
    const moved = (): number => this.#socket.bytesRead + this.#socket.bytesWritten - this.#socket.writableLength;
    let [bytes, since_ms] = [moved(), performance.now()];
    this.#watch = setInterval(() => {
      const now_ms = performance.now();
      if (this.#asked.size === 0 || this.#gone) return this.#watchNoMore();
      if (moved() !== bytes) [bytes, since_ms] = [moved(), now_ms];
      if (now_ms - since_ms < silent_ms) return;
      this.#why = new NbdSilentError(`nothing has moved on the NBD connection for ${silent_ms} ms`);
      this.cut();
    }, silent_ms / SILENCE_LOOKS).unref();
  }

  #watchNoMore(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const head = await this.#taker.take(REPLY_BYTES);
        if (head === undefined || head.readUInt32BE(0) !== REPLY_MAGIC) break;
        const asked = this.#asked.get(head.readBigUInt64BE(8));
        if (asked === undefined) break;
        const error = head.readUInt32BE(4);
        // A server that is not well may send bytes with an error no more than without one: a simple reply has none then.
        const bytes = error === 0 ? await this.#taker.take(asked.read_bytes) : Buffer.alloc(0);
        if (bytes === undefined) break;
        this.#asked.delete(head.readBigUInt64BE(8));
        if (error === 0) asked.resolve(bytes);
        else asked.reject(new NbdRequestError(`the NBD server answered with error ${error}`));
      }
    } finally {
      this.#gone = true;
      this.#socket.destroy();
      this.#watchNoMore();
      for (const { reject } of this.#asked.values()) reject(this.#why);
      this.#asked.clear();
      this.#closed.resolve();
    }
  }
}

/** @returns the size of the export, bytes */
async function negotiate(socket: Socket, taker: Taker, name: string): Promise<number> {
  const need = async (length: number): Promise<Buffer> => {
    const bytes = await taker.take(length);
    if (bytes === undefined) throw new NbdGoneError("the NBD server ended the connection");
    return bytes;
  };
  const greeting = await need(18);
  if (greeting.readBigUInt64BE(0) !== NBD_MAGIC || greeting.readBigUInt64BE(8) !== OPTION_MAGIC)
    throw new NbdError("who answers is no NBD server of the newstyle");
  if ((greeting.readUInt16BE(16) & HANDSHAKE_FLAGS.fixed_newstyle) === 0)
    throw new NbdError("the NBD server does not know the fixed newstyle");
  const text = Buffer.from(name);
  const asking = Buffer.alloc(4 + 16 + 4 + text.length + 2);
  asking.writeUInt32BE(greeting.readUInt16BE(16) & (HANDSHAKE_FLAGS.fixed_newstyle | HANDSHAKE_FLAGS.no_zeroes), 0);
  asking.writeBigUInt64BE(OPTION_MAGIC, 4);
  asking.writeUInt32BE(OPTION.go, 12);
  asking.writeUInt32BE(4 + text.length + 2, 16);
  asking.writeUInt32BE(text.length, 20);
  text.copy(asking, 24);
  socket.write(asking);
  let size_bytes: number | undefined;
  for (;;) {
    const head = await need(20);
    const [reply, length] = [head.readUInt32BE(12), head.readUInt32BE(16)];
    if (head.readBigUInt64BE(0) !== OPTION_REPLY_MAGIC || length > OPTION_REPLY_BYTES_MAX)
      throw new NbdError("the NBD server's answer makes no sense");
    const data = await need(length);
    if (reply === OPTION_REPLY.info && length >= 12 && data.readUInt16BE(0) === INFO.export)
      size_bytes = Number(data.readBigUInt64BE(2));
    if (reply >= 0x80000000) throw new NbdRequestError(`the NBD server refuses ${name}: ${data.toString() || reply}`);
    if (reply !== OPTION_REPLY.ack) continue;
    if (size_bytes === undefined) throw new NbdError("the NBD server does not tell the size");
    return size_bytes;
  }
}

export interface RemoteOptions {
  /** Opens a connection to the storage; the number tells earlier ones from later ones. @throws Error when nobody answers */
  readonly connect: (connection: number) => Promise<NbdClient>;
  /** Between two tries. @throws the signal's reason */
  readonly pause: (signal: AbortSignal) => Promise<void>;
  /** For so long it is tried in vain, and what waits fails. A silence that was waited for (NbdSilentError) counts. */
  readonly patience_ms: number;
  /** The storage is away, or back. */
  readonly onState: (state: "away" | "back", why: string) => void;
}

/**
 * A disk that a storage host exports, connected to again when the connection ends. What was asked for is asked again,
 * which is the same as once as long as the storage closes the old connection out before it lets the new one in: else
 * what lay on the old one may come after what followed it on the new one.
 */
export class RemoteBackend implements Backend {
  readonly size_bytes: number;
  readonly #options: RemoteOptions;
  readonly #closing = new AbortController();
  #connections: number;
  #client: NbdClient | undefined;
  #connecting: Promise<NbdClient> | undefined;
  /** The last connection was ended for its silence. */
  #waited = false;

  private constructor(options: RemoteOptions, client: NbdClient, connections: number) {
    this.#options = options;
    this.#client = client;
    this.#connections = connections;
    this.size_bytes = client.size_bytes;
  }

  /** @throws Error when the first connection comes to nothing: a storage that is not there is no disk */
  static async open(options: RemoteOptions): Promise<RemoteBackend> {
    return new RemoteBackend(options, await options.connect(1), 1);
  }

  get life(): number {
    return this.#connections;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    return await this.#ask((client) => client.read(offset, length));
  }

  async write(offset: number, bytes: Buffer): Promise<void> {
    await this.#ask((client) => client.write(offset, bytes));
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.#ask((client) => client.zero(offset, length));
  }

  async flush(): Promise<void> {
    await this.#ask((client) => client.flush());
  }

  async close(): Promise<void> {
    this.#closing.abort(new NbdGoneError("the storage is not used any more"));
    await this.#connecting?.catch(() => undefined);
    await this.#client?.close();
  }

  /** Ends the connection, and begins another one when something is asked for. */
  cut(): void {
    this.#client?.cut();
  }

  async #ask<T>(what: (client: NbdClient) => Promise<T>): Promise<T> {
    for (let silences = 0; ; ) {
      const client = await this.#connected();
      try {
        return await what(client);
      } catch (error) {
        if (!(error instanceof NbdGoneError)) throw error;
        this.#waited = error instanceof NbdSilentError;
        // It lets one in, and does not do what it is asked.
        if (this.#waited && ++silences > 1)
          throw new NothingMovesError(
            "the storage",
            `it did not do for ${this.#options.patience_ms} ms, twice, what it was asked`,
          );
      }
    }
  }

  async #connected(): Promise<NbdClient> {
    this.#closing.signal.throwIfAborted();
    if (this.#client?.gone === false) return this.#client;
    this.#connecting ??= this.#again().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #again(): Promise<NbdClient> {
    const { connect, pause, patience_ms, onState } = this.#options;
    this.#client = undefined;
    // Who was silent for as long as is waited has had its time: it is tried once more.
    const began_ms = performance.now() - (this.#waited ? patience_ms : 0);
    onState("away", this.#waited ? "nothing came for as long as is waited" : "the connection ended");
    for (let tries = 1; ; tries++) {
      try {
        const client = await connect(++this.#connections);
        if (client.size_bytes !== this.size_bytes) {
          client.cut();
          throw new NbdRequestError(`the disk has ${client.size_bytes} bytes and had ${this.size_bytes}`);
        }
        this.#client = client;
        this.#waited = false;
        onState("back", `after ${tries} tries`);
        return client;
      } catch (error) {
        this.#closing.signal.throwIfAborted();
        if (error instanceof NbdRequestError) throw error;
        if (performance.now() - began_ms > patience_ms)
          throw new NothingMovesError("the storage", `it has not answered for ${patience_ms} ms`, [String(error)]);
      }
      await pause(this.#closing.signal);
    }
  }
}
