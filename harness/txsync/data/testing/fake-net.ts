import type { TimelineEventBody } from "../../../base/timeline.ts";
import type { Role } from "../../core/index.ts";
import { BufferPool } from "../../wire/index.ts";
import type { DataChannel, DataShell } from "../data-shell.ts";
import type { DataConfig, DataEvent } from "../protocol.ts";

type Receive = (from: Role, payload: Buffer) => Promise<void> | undefined;

/** Whoever gives memory back that he still needs finds something else in it. */
class PoisoningPool extends BufferPool {
  override give(buffer: Uint8Array): void {
    buffer.fill(0xdb);
    super.give(buffer);
  }
}

/** Connections between data planes without sockets: in order by channel, cut whenever a test wants. */
export class FakeNet {
  readonly #receivers = new Map<Role, Receive>();
  readonly #connections = new Map<string, number>();
  readonly #cut = new Set<string>();
  #stalled: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  /** Seen, and perhaps changed or swallowed (null), on its way. */
  onWay: (from: Role, to: Role, payload: Buffer) => Buffer | null = (_, __, payload) => payload;
  readonly #buffers = new PoisoningPool(264 * 1024, 4);
  readonly #lines = new Map<string, { bytes: number; tail: Promise<void>; life: number }>();

  attach(role: Role, receive: Receive): void {
    this.#receivers.set(role, receive);
  }

  /** Everything under way between the two is lost, in both directions; connections are other ones from now on. */
  breakBetween(a: Role, b: Role): void {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const)
      for (const channel of ["urgent", "bulk"] as const) {
        const key = `${from}:${to}:${channel}`;
        this.#connections.set(key, (this.#connections.get(key) ?? 1) + 1);
        this.#lines.delete(key);
      }
  }

  /** Nothing arrives anywhere, and nothing breaks, until `flow`. */
  stall(): void {
    this.#stalled ??= Promise.withResolvers<void>();
  }

  flow(): void {
    this.#stalled?.resolve();
    this.#stalled = undefined;
  }

  cut(a: Role, b: Role): void {
    this.breakBetween(a, b);
    this.#cut.add([a, b].sort().join(":"));
  }

  heal(a: Role, b: Role): void {
    this.#cut.delete([a, b].sort().join(":"));
  }

  peersOf(from: Role): DataShell["peers"] {
    const isCut = (to: Role): boolean => this.#cut.has([from, to].sort().join(":"));
    const key = (to: Role, channel: DataChannel): string => `${from}:${to}:${channel}`;
    return {
      connection: (to, channel) => (isCut(to) ? undefined : (this.#connections.get(key(to, channel)) ?? 1)),
      buffers: this.#buffers,
      sendData: (to, channel, pieces, onDone) => {
        if (isCut(to)) {
          onDone?.();
          return false;
        }
        const name = key(to, channel);
        const line = this.#lines.get(name) ?? { bytes: 0, tail: Promise.resolve(), life: 0 };
        this.#lines.set(name, line);
        const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
        line.bytes += bytes;
        line.tail = line.tail.then(async () => {
          await new Promise((resolve) => setImmediate(resolve));
          // Like a socket it reads the pieces when it comes to them.
          const payload = Buffer.concat(pieces);
          onDone?.();
          await this.#stalled?.promise;
          if (this.#lines.get(name) !== line) return;
          line.bytes -= bytes;
          const arrives = this.onWay(from, to, payload);
          if (arrives !== null) await this.#receivers.get(to)?.(from, arrives);
        });
        return true;
      },
      drained: async (to, channel, most_bytes) => {
        const line = this.#lines.get(key(to, channel));
        while (line !== undefined && this.#lines.get(key(to, channel)) === line && line.bytes > most_bytes)
          await new Promise((resolve) => setImmediate(resolve));
      },
    };
  }
}

/** A data plane's surroundings without threads: what it tells is kept. */
export class FakeShell implements DataShell {
  readonly config: DataConfig;
  readonly peers: DataShell["peers"];
  readonly events: TimelineEventBody[] = [];
  readonly told: DataEvent[] = [];
  onTell: ((event: DataEvent) => void) | undefined;

  constructor(role: Role, net: FakeNet, memory_folder: string, lease_ms = 50) {
    this.peers = net.peersOf(role);
    this.config = {
      role,
      secret: "",
      migration: "",
      peers: {},
      listen_bulk: { host: "", port: 0 },
      state_folder: memory_folder,
      memory_folder,
      ram_path: `${memory_folder}/ram`,
      pagescan: "",
      lease_ms,
      log_sync: "memory",
    };
  }

  emit = (event: TimelineEventBody): void => void this.events.push(event);

  tell = (event: DataEvent): void => {
    this.told.push(event);
    this.onTell?.(event);
  };

  get lines(): readonly string[] {
    return this.events.flatMap((event) => (event.kind === "log" ? [event.line] : []));
  }
}
