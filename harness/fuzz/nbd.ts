import { Duplex } from "node:stream";
import { Fence } from "../txsync/disk/index.ts";
import {
  COMMAND,
  encodeRequest,
  HANDSHAKE_FLAGS,
  OPTION,
  OPTION_MAGIC,
  REPLY_BYTES,
  REPLY_MAGIC,
  type Request,
} from "../txsync/disk/nbd.ts";
import { type NbdSocket, serveNbd } from "../txsync/disk/server.ts";
import { MemoryBackend } from "../txsync/disk/testing/memory-backend.ts";
import { type Answer, type FuzzTarget, ofBytes, TOOK } from "./target.ts";

/** What QEMU asks of the disks that are served to it. */
export function nbdRequests(): FuzzTarget<Buffer> {
  return ofBytes("NBD requests", conversations, feed);
}

const DISK_BYTES = 4096;

function conversations(): Buffer[] {
  const flags = Buffer.alloc(4);
  flags.writeUInt32BE(HANDSHAKE_FLAGS.fixed_newstyle | HANDSHAKE_FLAGS.no_zeroes);
  const name = Buffer.from("disk");
  const named = Buffer.concat([Buffer.from([0, 0, 0, name.length]), name, Buffer.from([0, 0])]);
  const ask = (command: number, offset: number, length: number, payload = Buffer.alloc(0)): Buffer => {
    const request: Request = { flags: 0, command, handle: 7n, offset, length };
    return Buffer.concat([encodeRequest(request), payload]);
  };
  const requests = [
    ask(COMMAND.write, 8, 512, Buffer.alloc(512, 1)),
    ask(COMMAND.read, 0, DISK_BYTES),
    ask(COMMAND.write_zeroes, 0, 64),
    ask(COMMAND.trim, 64, 1),
    ask(COMMAND.flush, 0, 0),
    ask(COMMAND.disconnect, 0, 0),
  ];
  return [
    Buffer.concat([flags, option(OPTION.go, named), ...requests]),
    Buffer.concat([flags, option(OPTION.list, Buffer.alloc(0)), option(OPTION.info, named), option(OPTION.go, named)]),
    Buffer.concat([flags, option(OPTION.export_name, name), ...requests.slice(-1)]),
    Buffer.concat([flags, option(OPTION.abort, Buffer.alloc(0))]),
  ];
}

function option(which: number, data: Buffer): Buffer {
  const head = Buffer.alloc(16);
  head.writeBigUInt64BE(OPTION_MAGIC);
  head.writeUInt32BE(which, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** A client that has said all that it says, and reads whatever comes. */
class Client extends Duplex {
  readonly errors = new Set<number>();
  answered = false;

  constructor(says: Buffer) {
    super();
    this.push(says);
    this.push(null);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.answered = true;
    if (chunk.length === REPLY_BYTES && chunk.readUInt32BE(0) === REPLY_MAGIC) this.errors.add(chunk.readUInt32BE(4));
    done();
  }

  setNoDelay(): never {
    return this as never;
  }
}

async function feed(bytes: Buffer): Promise<Answer> {
  const client = new Client(bytes);
  const backend = new MemoryBackend(DISK_BYTES);
  const troubles: string[] = [];
  await serveNbd(client satisfies NbdSocket, {
    disks: new Map([["disk", { backend, fence: new Fence({ newest_wins: true }) }]]),
    onTrouble: (what) => troubles.push(what),
  });
  if (!client.answered) throw new Error("the client was not even greeted");
  if (!client.destroyed) throw new Error("the connection is left open");
  if (troubles.length > 0) return { took: false, said: troubles.join("; ") };
  const errors = [...client.errors].filter((error) => error !== 0).sort((a, b) => a - b);
  return errors.length === 0 ? TOOK : { took: false, said: `errors ${errors.map((error) => `e${error}`).join(" ")}` };
}
