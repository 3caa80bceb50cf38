import { createServer, type Server, type Socket } from "node:net";
import { COMMAND, RETURN_MESSAGE } from "../../qemu/stream/format.ts";
import { type StreamBlock, StreamReader } from "../../qemu/stream/reader.ts";

/** What a migration carries beside pages: everything that a target's QEMU has to be told, and transaction 0. */
export interface Captured {
  /** The stream up to the package, without pages: header, configuration, commands, the RAM section's setup. */
  readonly preamble: Buffer;
  /** The whole packaged command, as it goes to a target. */
  readonly packaged: Buffer;
  /** Its content: listen, device sections, run. */
  readonly content: Buffer;
  readonly machine: string;
  readonly ram_section_id: number;
  readonly blocks: readonly StreamBlock[];
}

/**
 * The source's end of the relay: QEMU migrates to this local socket, and is told by nobody that there is no target yet.
 * Pages are left out, so that nothing on the target can be older than the base; the source's QEMU is done with the
 * package, the page service goes on from there. After it nothing more is read, and nothing is closed: a QEMU whose
 * stream breaks may go on running (seen with 10.0).
 */
export class StreamCapture implements Disposable {
  readonly #server: Server;
  readonly captured: Promise<Captured>;
  /** Settles with the reason when QEMU gave the migration up before the package, or ended it without one. */
  readonly broken: Promise<string>;
  #socket: Socket | undefined;

  private constructor(server: Server) {
    this.#server = server;
    const done = Promise.withResolvers<Captured>();
    const broken = Promise.withResolvers<string>();
    this.captured = done.promise;
    this.broken = broken.promise;
    done.promise.catch(() => undefined);
    server.on("connection", (socket) => {
      this.#socket?.destroy();
      this.#socket = socket;
      this.#follow(socket, done.resolve, (why) => broken.resolve(why));
    });
  }

  static async listen(path: string): Promise<StreamCapture> {
    const server = createServer();
    const capture = new StreamCapture(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(path, resolve);
    });
    return capture;
  }

  #follow(socket: Socket, done: (captured: Captured) => void, broke: (why: string) => void): void {
    const pieces: Buffer[] = [];
    let machine = "";
    let over = false;
    // Between a RAM section's beginning and its setup, and its end: the setup is wanted, the pages are not.
    let inPart = false;
    const reader = new StreamReader((record) => {
      if (over) return;
      if (record.kind === "configuration") machine = record.machine;
      if (record.kind === "command" && record.command === COMMAND.ping) {
        socket.write(pong(record.data.readUInt32BE(0)));
      }
      if (record.kind === "packaged") {
        over = true;
        socket.pause();
        done({
          preamble: Buffer.concat(pieces),
          packaged: Buffer.from(record.raw),
          content: Buffer.from(record.content),
          machine,
          ram_section_id: reader.ram_section_id ?? -1,
          blocks: reader.blocks,
        });
        return;
      }
      // What comes after memory, and outside of a package, is the end of a migration without post-copy.
      const end =
        record.kind === "eof" || record.kind === "section" || (record.kind === "ram-section" && record.part === "end");
      if (end) {
        over = true;
        broke("QEMU switched over without post-copy");
        socket.destroy();
        return;
      }
      if (record.kind === "ram-section") inPart = record.part !== "start";
      const page = record.kind === "ram-page" || inPart;
      if (record.kind === "footer" && inPart) inPart = false;
      if (!page) pieces.push(Buffer.from(record.raw));
    });
    socket.on("data", (chunk: Buffer) => {
      if (over) return;
      try {
        reader.push(chunk);
      } catch (error) {
        broke(String(error));
        socket.destroy();
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (!over) broke("QEMU closed its migration stream");
    });
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#socket?.destroy();
  }
}

function pong(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE(RETURN_MESSAGE.pong, 0);
  bytes.writeUInt16BE(4, 2);
  bytes.writeUInt32BE(value, 4);
  return bytes;
}
