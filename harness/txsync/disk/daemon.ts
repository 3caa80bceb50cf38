import { mkdirSync, rmSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { messageOf } from "../../base/errors.ts";
import {
  type DaemonConfig,
  type DaemonRequest,
  type DaemonStatus,
  NBD_SOCKET,
  requestSchema,
  WORDS_SOCKET,
} from "./daemon-words.ts";
import { Disk } from "./disk.ts";
import { Fence } from "./fence.ts";
import { changesIn } from "./overlay.ts";
import { Segment } from "./segment.ts";
import { type ServedDisk, serveNbd } from "./server.ts";
import { StorageDisk } from "./storage-disk.ts";

/**
 * So much of a disk's writes may wait for their commit; then the guest waits. A transaction has all of it in one go, and a
 * restore takes 256 MiB of all disks (data/log-reader.ts).
 */
const OVERLAY_BYTES_MAX = 16 * 1024 ** 2;
const LINE_BYTES_MAX = 64 * 1024;

interface HostDisk {
  readonly storage: StorageDisk;
  readonly disk: Disk;
  readonly fence: Fence;
}

/**
 * The disks of a host's VM: a process beside QEMU, which both outlive their agent. It serves NBD to QEMU, keeps what waits
 * for its transaction, and brings into the images what is committed; the agent tells it what is. Nothing of a disk passes
 * through the agent's own threads but what a record has.
 */
export class DiskDaemon implements AsyncDisposable {
  readonly #disks: ReadonlyMap<string, HostDisk>;
  readonly #say: (line: string) => void;
  readonly #away: Set<string>;
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  #queue: Promise<unknown> = Promise.resolve();
  /** Settles when the last commit is over, on every disk. */
  #committed: Promise<unknown> = Promise.resolve();

  /**
   * Nobody else serves the disks of this folder from here on, for as long as this process lives: its name in the kernel's
   * abstract namespace (unix(7)) can be had once, and goes with it. @returns undefined where somebody has it
   */
  static async alone(folder: string): Promise<Disposable | undefined> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Two hosts may share that namespace, and the folder's path; not the folder.
    const { dev, ino } = statSync(folder, { bigint: true });
    const server = createServer((socket) => void socket.destroy());
    try {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject).listen(`\0ferryman-disks-${dev}-${ino}`, resolve);
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") return undefined;
      throw error;
    }
    server.unref();
    return { [Symbol.dispose]: () => void server.close() };
  }

  private constructor(disks: ReadonlyMap<string, HostDisk>, away: Set<string>, say: (line: string) => void) {
    this.#disks = disks;
    this.#away = away;
    this.#say = say;
  }

  /** @throws Error when the storage does not answer */
  static async start(config: DaemonConfig, say: (line: string) => void): Promise<DiskDaemon> {
    const disks = new Map<string, HostDisk>();
    const away = new Set<string>();
    for (const name of config.disks) {
      const storage = await StorageDisk.open(name, {
        ...config.storage,
        patience_ms: config.patience_ms,
        onState: (state, why) => {
          if (state === "away") away.add(name);
          else away.delete(name);
          say(`storage of ${name}: ${state}, ${why}`);
        },
      });
      const folder = join(config.folder, name);
      // Until the agent says whose VM is here nothing goes into an image.
      const disk = new Disk({ image: storage, folder, mode: "kept", overlay_bytes_max: OVERLAY_BYTES_MAX });
      disks.set(name, { storage, disk, fence: new Fence({ newest_wins: false }) });
    }
    const daemon = new DiskDaemon(disks, away, say);
    const served = new Map<string, ServedDisk>(
      [...disks].map(([name, { disk, fence }]) => [name, { backend: disk, fence }]),
    );
    mkdirSync(config.folder, { recursive: true });
    await daemon.#listen(join(config.folder, NBD_SOCKET), (socket) =>
      serveNbd(socket, { disks: served, onTrouble: (what) => say(what) }),
    );
    await daemon.#listen(join(config.folder, WORDS_SOCKET), (socket) => daemon.#talk(socket));
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    for (const { disk } of this.#disks.values()) await disk.close();
  }

  async #listen(path: string, serve: (socket: Socket) => Promise<void>): Promise<void> {
    rmSync(path, { force: true });
    const server = createServer((socket) => {
      this.#sockets.add(socket);
      void serve(socket).finally(() => this.#sockets.delete(socket));
    });
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(path, resolve);
    });
  }

  async #talk(socket: Socket): Promise<void> {
    socket.on("error", () => undefined);
    const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY });
    try {
      for await (const line of lines) {
        if (line.length > LINE_BYTES_MAX) break;
        const parsed = requestSchema.safeParse(parse(line));
        if (!parsed.success) {
          this.#say(`not understood: ${line.slice(0, 200)}`);
          break;
        }
        // Not waited for: a commit may take as long as the storage is away, and a mark must not.
        void this.#answer(socket, parsed.data);
      }
    } catch {
      // An agent that ended with an answer unread: its end of the connection is reset.
    }
    socket.destroy();
  }

  async #answer(socket: Socket, request: DaemonRequest): Promise<void> {
    const { id } = request;
    try {
      await this.#obey(request);
      socket.write(`${JSON.stringify({ id, status: this.status })}\n`);
    } catch (error) {
      socket.write(`${JSON.stringify({ id, error: messageOf(error) })}\n`);
    }
  }

  get status(): DaemonStatus {
    const disks = [...this.#disks.values()].map(({ disk }) => disk);
    return {
      applied: Math.min(...disks.map(({ applied }) => applied)),
      overlay_bytes: disks.reduce((sum, { overlay_bytes }) => sum + overlay_bytes, 0),
      through: disks.every(({ mode }) => mode === "through"),
      flushes: disks.map(({ flushes }) => flushes),
      storage: this.#away.size > 0 ? "away" : "there",
    };
  }

  async #obey(request: DaemonRequest): Promise<void> {
    const all = [...this.#disks.values()];
    switch (request.do) {
      case "status":
        return;
      case "hurry":
        for (const { disk } of all) disk.hurry(request.on);
        return;
      case "mark":
        for (const { disk } of all) disk.mark(request.n);
        return;
      case "commit":
        await this.#commit(all, request.n);
        return;
      case "close-out":
        await Promise.all(all.map(({ fence }) => fence.closeOut({ generation: request.below, connection: 0 })));
        return;
      case "own":
        await this.#inTurn(() => Promise.all(all.map((each) => own(each, request.generation, request.through))));
        return;
      case "disown":
        await this.#inTurn(async () => {
          // Somebody else may have it: nothing more is asked of it in the name of the VM that was here. Of none, first: what is
          // under way on one disk is waited for by those that have got further.
          await Promise.all(all.map(({ storage }) => storage.disown()));
          for (const { disk } of all) {
            await disk.keep();
            disk.rollBack(0);
          }
        });
        return;
      case "redo":
        await this.#inTurn(async () => await this.#redo(request.generation, request.segments));
        return;
    }
  }

  /**
   * All of a transaction is in its images before the next one begins on any: the log keeps the pieces of all disks for the one
   * that is behind, and one that is not has room when the others have.
   */
  async #commit(all: readonly HostDisk[], n: number): Promise<void> {
    const committing = all.map(({ disk }) => disk.commit(n, this.#committed));
    this.#committed = Promise.allSettled(committing);
    await Promise.all(committing);
  }

  async #redo(generation: number, segments: Readonly<Record<string, string>>): Promise<void> {
    // First, and of all: in the name of an older generation it would do nothing more.
    await Promise.all([...this.#disks.values()].map(({ storage }) => storage.own(generation)));
    for (const [name, { disk }] of this.#disks) {
      await disk.keep();
      disk.rollBack(0);
      const path = segments[name];
      if (path === undefined) continue;
      const segment = Segment.look(path);
      try {
        await disk.redo({ [Symbol.iterator]: () => changesIn([segment]) });
      } finally {
        segment.close();
      }
    }
  }

  #inTurn(what: () => Promise<unknown>): Promise<void> {
    const turn = this.#queue.then(what).then(() => undefined);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

async function own({ storage, disk }: HostDisk, generation: number, through: boolean): Promise<void> {
  await storage.own(generation);
  if (through && disk.mode === "kept") await disk.letThrough();
  if (!through && disk.mode === "through") await disk.keep();
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
