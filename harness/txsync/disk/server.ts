import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { messageOf } from "../../base/errors.ts";
import type { Backend } from "./backend.ts";
import { type Admission, type Fence, FencedError } from "./fence.ts";
import {
  COMMAND,
  COMMAND_FLAGS,
  decodeRequest,
  ERROR,
  encodeBlockSizes,
  encodeExportInfo,
  encodeExportName,
  encodeGreeting,
  encodeOptionReply,
  encodeReply,
  HANDSHAKE_FLAGS,
  NAME_BYTES_MAX,
  NbdError,
  OPTION,
  OPTION_BYTES_MAX,
  OPTION_MAGIC,
  OPTION_REPLY,
  REQUEST_BYTES,
  REQUEST_BYTES_MAX,
  type Request,
} from "./nbd.ts";
import { NO_STAMP, readStamp } from "./stamp.ts";
import { Taker } from "./taker.ts";

/** A disk as it is served. */
export interface ServedDisk {
  readonly backend: Backend;
  readonly fence: Fence;
  /** Who shows no stamp may read, whoever else there is, and closes nobody out. */
  readonly read_only_without_stamp?: boolean;
}

export interface NbdServerOptions {
  /** By the export's own name, without a stamp. */
  readonly disks: ReadonlyMap<string, ServedDisk>;
  /** Something failed that the client only learns of as an I/O error, or not at all. */
  readonly onTrouble: (what: string) => void;
}

/** QEMU has 16 requests under way at most (QEMU: block/nbd.c, MAX_NBD_REQUESTS). */
const IN_HAND_MAX = 16;
/** Payload of requests and replies that a connection holds, bytes; one more request may come on top. */
const HELD_BYTES_MAX = 4 * REQUEST_BYTES_MAX;

/** A socket, or what stands for one. */
export type NbdSocket = Duplex & Pick<Socket, "setNoDelay">;

/** Serves NBD on one connection until either side ends it. Never rejects: what went wrong is told as trouble. */
export async function serveNbd(socket: NbdSocket, options: NbdServerOptions): Promise<void> {
  socket.on("error", () => undefined);
  socket.setNoDelay(true);
  const connection = new Connection(socket, options);
  try {
    await connection.serve();
  } catch (error) {
    if (!(error instanceof FencedError)) options.onTrouble(`NBD: ${messageOf(error)}`);
  } finally {
    socket.destroy();
    await connection.end();
  }
}

class Connection {
  readonly #socket: NbdSocket;
  readonly #taker: Taker;
  readonly #disks: NbdServerOptions["disks"];
  readonly #onTrouble: NbdServerOptions["onTrouble"];
  readonly #in_hand = new Set<Promise<void>>();
  #held_bytes = 0;
  #zeroes = true;
  #admission: Admission | undefined;
  #reads_only = false;

  constructor(socket: NbdSocket, { disks, onTrouble }: NbdServerOptions) {
    this.#socket = socket;
    this.#taker = new Taker(socket);
    this.#disks = disks;
    this.#onTrouble = onTrouble;
  }

  async serve(): Promise<void> {
    const backend = await this.#negotiate();
    if (backend !== undefined) await this.#transmit(backend);
  }

  async end(): Promise<void> {
    await this.#admission?.end();
  }

  /** @returns the disk that was chosen, or undefined when the client is gone */
  async #negotiate(): Promise<Backend | undefined> {
    this.#socket.write(encodeGreeting());
    const flags = await this.#taker.take(4);
    if (flags === undefined) return undefined;
    this.#zeroes = (flags.readUInt32BE() & HANDSHAKE_FLAGS.no_zeroes) === 0;
    for (;;) {
      const head = await this.#taker.take(16);
      if (head === undefined) return undefined;
      if (head.readBigUInt64BE() !== OPTION_MAGIC) throw new NbdError("an option without the magic number");
      const [option, length] = [head.readUInt32BE(8), head.readUInt32BE(12)];
      if (length > OPTION_BYTES_MAX) throw new NbdError(`an option of ${length} bytes`);
      const data = await this.#taker.take(length);
      if (data === undefined) return undefined;
      const chosen = await this.#obey(option, data);
      if (chosen === "over") return undefined;
      if (chosen !== undefined) return chosen;
    }
  }

  async #obey(option: number, data: Buffer): Promise<Backend | "over" | undefined> {
    const answer = (reply: number, payload?: Buffer): undefined => {
      this.#socket.write(encodeOptionReply(option, reply, payload));
      return undefined;
    };
    switch (option) {
      case OPTION.abort:
        answer(OPTION_REPLY.ack);
        return "over";
      case OPTION.list:
        for (const name of this.#disks.keys()) {
          const length = Buffer.alloc(4);
          length.writeUInt32BE(Buffer.byteLength(name));
          answer(OPTION_REPLY.server, Buffer.concat([length, Buffer.from(name)]));
        }
        return answer(OPTION_REPLY.ack);
      case OPTION.export_name: {
        // It has no way to be refused but the end of the connection.
        const backend = await this.#choose(data.toString("utf8"));
        if (backend === undefined) return "over";
        this.#socket.write(encodeExportName(backend.size_bytes, this.#zeroes));
        return backend;
      }
      case OPTION.info:
      case OPTION.go: {
        const name = nameIn(data);
        if (name === undefined) return answer(OPTION_REPLY.invalid);
        const backend =
          option === OPTION.go ? await this.#choose(name) : this.#disks.get(readStamp(name).name)?.backend;
        if (backend === undefined) return answer(OPTION_REPLY.unknown);
        answer(OPTION_REPLY.info, encodeExportInfo(backend.size_bytes));
        answer(OPTION_REPLY.info, encodeBlockSizes());
        answer(OPTION_REPLY.ack);
        return option === OPTION.go ? backend : undefined;
      }
      default:
        return answer(OPTION_REPLY.unsupported);
    }
  }

  /** @returns undefined where there is no such disk, or this client is closed out of it */
  async #choose(full_name: string): Promise<Backend | undefined> {
    const { name, stamp } = readStamp(full_name);
    const disk = this.#disks.get(name);
    if (disk === undefined) return undefined;
    this.#reads_only = disk.read_only_without_stamp === true && stamp === NO_STAMP;
    try {
      this.#admission = this.#reads_only ? disk.fence.reader() : await disk.fence.admit(stamp);
    } catch (error) {
      this.#onTrouble(`NBD export ${full_name}: ${messageOf(error)}`);
      return undefined;
    }
    this.#admission.signal.addEventListener("abort", () => this.#socket.destroy(), { once: true });
    return disk.backend;
  }

  async #transmit(backend: Backend): Promise<void> {
    for (;;) {
      const head = await this.#taker.take(REQUEST_BYTES);
      if (head === undefined) return;
      const request = decodeRequest(head);
      if (request.command === COMMAND.disconnect) {
        await Promise.all(this.#in_hand);
        return;
      }
      if (request.command === COMMAND.write && request.length > REQUEST_BYTES_MAX)
        throw new NbdError(`a write of ${request.length} bytes, where ${REQUEST_BYTES_MAX} were allowed`);
      const payload = request.command === COMMAND.write ? await this.#taker.take(request.length) : Buffer.alloc(0);
      if (payload === undefined) return;
      await this.#room();
      this.#start(backend, request, payload);
    }
  }

  /** Waits while too much is in hand, or the client does not take its replies. */
  async #room(): Promise<void> {
    while (this.#in_hand.size >= IN_HAND_MAX || this.#held_bytes >= HELD_BYTES_MAX) await Promise.race(this.#in_hand);
    if (this.#socket.writableLength < HELD_BYTES_MAX || this.#socket.destroyed) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#socket.off("drain", done).off("close", done);
        resolve();
      };
      this.#socket.on("drain", done).on("close", done);
    });
  }

  #start(backend: Backend, request: Request, payload: Buffer): void {
    const bytes = request.command === COMMAND.read ? Math.min(request.length, REQUEST_BYTES_MAX) : payload.length;
    this.#held_bytes += bytes;
    const doing = this.#answer(backend, request, payload).finally(() => {
      this.#in_hand.delete(doing);
      this.#held_bytes -= bytes;
    });
    this.#in_hand.add(doing);
  }

  async #answer(backend: Backend, request: Request, payload: Buffer): Promise<void> {
    const admission = this.#admission as Admission;
    try {
      const error = this.#reads_only && changes(request) ? ERROR.not_permitted : wrongIn(request, backend.size_bytes);
      const data =
        error === undefined
          ? await admission.run((signal) => perform(backend, request, payload, signal))
          : Buffer.alloc(0);
      // Who is closed out is not told that anything was done, though it was.
      if (admission.signal.aborted || this.#socket.destroyed) return;
      this.#socket.cork();
      this.#socket.write(encodeReply(request.handle, error ?? 0));
      if (data.length > 0) this.#socket.write(data);
      this.#socket.uncork();
    } catch (error) {
      if (admission.signal.aborted) return;
      this.#onTrouble(`NBD request ${request.command} at byte ${request.offset}: ${messageOf(error)}`);
      this.#socket.write(encodeReply(request.handle, ERROR.io));
    }
  }
}

/** The name in NBD_OPT_GO and NBD_OPT_INFO; undefined when the option is malformed. */
function nameIn(data: Buffer): string | undefined {
  if (data.length < 6) return undefined;
  const length = data.readUInt32BE(0);
  if (length > NAME_BYTES_MAX || data.length < 6 + length) return undefined;
  const infos = data.readUInt16BE(4 + length);
  return data.length === 6 + length + 2 * infos ? data.toString("utf8", 4, 4 + length) : undefined;
}

function changes({ command }: Request): boolean {
  return command === COMMAND.write || command === COMMAND.trim || command === COMMAND.write_zeroes;
}

/** The error number for what is not done, or undefined. */
function wrongIn({ command, flags, offset, length }: Request, size_bytes: number): number | undefined {
  const known = command === COMMAND.write_zeroes ? COMMAND_FLAGS.fua | COMMAND_FLAGS.no_hole : COMMAND_FLAGS.fua;
  if ((flags & ~known) !== 0) return ERROR.invalid;
  switch (command) {
    case COMMAND.flush:
      return undefined;
    case COMMAND.read:
      return length > REQUEST_BYTES_MAX || offset + length > size_bytes ? ERROR.invalid : undefined;
    case COMMAND.write:
    case COMMAND.write_zeroes:
      return offset + length > size_bytes ? ERROR.no_space : undefined;
    case COMMAND.trim:
      return offset + length > size_bytes ? ERROR.invalid : undefined;
    default:
      return ERROR.invalid;
  }
}

async function perform(backend: Backend, request: Request, payload: Buffer, signal: AbortSignal): Promise<Buffer> {
  const { command, flags, offset, length } = request;
  const nothing = Buffer.alloc(0);
  if (command === COMMAND.read) return length === 0 ? nothing : await backend.read(offset, length, signal);
  if (command === COMMAND.write) await backend.write(offset, payload, signal);
  else if (command !== COMMAND.flush) await backend.zero(offset, length, signal);
  if (command === COMMAND.flush || (flags & COMMAND_FLAGS.fua) !== 0) await backend.flush(signal);
  return nothing;
}
