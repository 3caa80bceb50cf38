import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { HostRole } from "../../base/timeline.ts";
import type { OutputFindings } from "../../checks/evidence.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { AgentConnection } from "./agent-connection.ts";

const RECONNECT_MS = 20;
/** Hosts on which the VM can be. */
const OWNERS: readonly HostRole[] = ["source", "target"];

interface FrameLine {
  readonly frame: number;
  readonly generation: number;
  readonly channel: number;
  readonly bytes: string;
}

/**
 * The receiving edge: the world outside, to which the VM's output goes. Takes frames in the order of their numbers from
 * whichever host lets them out, drops repeats (and compares them with what came before), refuses gaps. What is typed
 * goes to all hosts that can have the VM; only the one that has it passes it on.
 */
export class Edge implements Disposable {
  readonly #connections: readonly AgentConnection[];
  readonly #sockets = new Map<HostRole, Socket>();
  readonly #lines = new Set<{ readonly channel: number; readonly line: Duplex }>();
  readonly #listeners: ((channel: number, bytes: Buffer, from: HostRole) => void)[] = [];
  readonly #received = new Map<number, string>();
  readonly #changed: string[] = [];
  #upTo = 0;
  #before = 0;
  #repeated = 0;
  #after_switchover = 0;
  /** The host from which the last new frame came. */
  from: HostRole = "source";

  /** @param token what the agents want to see first */
  constructor(host: (role: HostRole) => StartedHost, token: string) {
    this.#connections = OWNERS.map((role) => this.#connect(host(role), token));
  }

  get findings(): OutputFindings {
    return {
      frames: this.#before + this.#upTo,
      repeated: this.#repeated,
      after_switchover: this.#after_switchover,
      changed: this.#changed,
    };
  }

  /** Another migration begins, with other agents: frames are numbered anew. */
  anew(): void {
    this.#before += this.#upTo;
    this.#upTo = 0;
    this.#received.clear();
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  /** For every new frame, with the host that let it out. */
  onFrame(listener: (channel: number, bytes: Buffer, from: HostRole) => void): void {
    this.#listeners.push(listener);
  }

  /** A serial line of the VM, wherever it is. */
  line(channel: number): Duplex {
    const line = new Duplex({
      read: () => undefined,
      write: (bytes: Buffer, _encoding, done) => {
        const text = `${JSON.stringify({ type: bytes.toString("base64"), channel })}\n`;
        for (const socket of this.#sockets.values()) socket.write(text);
        done();
      },
      destroy: (error, done) => {
        this.#lines.delete(open);
        done(error);
      },
    });
    const open = { channel, line };
    this.#lines.add(open);
    return line;
  }

  #connect(host: StartedHost, token: string): AgentConnection {
    return new AgentConnection({
      host,
      token,
      reconnect_ms: RECONNECT_MS,
      onOpen: (socket) => {
        socket.write(`${JSON.stringify({ id: 0, do: "edge", upTo: this.#upTo })}\n`);
        this.#sockets.set(host.role, socket);
      },
      onLines: (lines, socket) => {
        for (const line of lines) {
          const frame = JSON.parse(line) as FrameLine;
          if (typeof frame.frame === "number" && !this.#take(host.role, frame)) socket.destroy();
        }
        socket.write(`${JSON.stringify({ ack: this.#upTo })}\n`);
      },
      onClose: (socket) => {
        if (this.#sockets.get(host.role) === socket) this.#sockets.delete(host.role);
      },
    });
  }

  /** @returns false where something is missing before it: the sender is asked to begin where we are. */
  #take(from: HostRole, { frame, generation, channel, bytes }: FrameLine): boolean {
    const known = this.#received.get(frame);
    const content = `${channel}:${bytes}`;
    if (known !== undefined) {
      this.#repeated += 1;
      if (known !== content) {
        this.#changed.push(
          `frame ${frame} came from ${from} (generation ${generation}) with another content than before`,
        );
      }
      return true;
    }
    if (frame !== this.#upTo + 1) return false;
    this.#upTo = frame;
    if (generation > 0) this.#after_switchover += 1;
    this.#received.set(frame, content);
    this.from = from;
    const content_bytes = Buffer.from(bytes, "base64");
    for (const open of this.#lines) if (open.channel === channel) open.line.push(content_bytes);
    for (const listener of this.#listeners) listener(channel, content_bytes, from);
    return true;
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection[Symbol.dispose]();
    for (const { line } of this.#lines) line.destroy();
  }
}
