import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import * as z from "zod";
import type { HostRole } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { Counted, OutputFindings } from "../../checks/output.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { CARD_CHANNEL } from "../../txsync/device/network-card.ts";
import { AgentConnection } from "./agent-connection.ts";

const RECONNECT_MS = 20;
/** Hosts on which the VM can be. */
const OWNERS: readonly HostRole[] = ["source", "target"];

/** For frames that were let out to come: what is under way on one connection, and another connection after that. */
const UNDER_WAY_MS = 3_000;
/** What may wait for an agent that does not read; a frame of a network beyond it is lost. */
const WAITING_BYTES_MAX = 8 * 2 ** 20;
/** Of what is longer only a digest is kept, to be compared with: of a card's frames there are thousands a second. */
const KEPT_LENGTH_MAX = 128;

const frameSchema = z.object({
  frame: z.int().positive(),
  generation: z.int().nonnegative(),
  channel: z.int().nonnegative(),
  bytes: z.base64(),
});
type FrameLine = z.infer<typeof frameSchema>;

/** Counts things and keeps the first and the last of them, in words. */
class Tally {
  #count = 0;
  #first: string | undefined;
  #last: string | undefined;

  add(what: string, count = 1, last = what): void {
    if (count === 0) return;
    this.#count += count;
    this.#first ??= what;
    this.#last = last;
  }

  get counted(): Counted {
    const [first, last] = [this.#first, this.#last];
    return { count: this.#count, ...(first === undefined ? {} : { first }), ...(last === undefined ? {} : { last }) };
  }
}

/** How far hosts say to have let output out when it was last waited for. */
interface Reckoning {
  readonly marks: ReadonlyMap<HostRole, number>;
  /** The last frame that was seen at all, refused ones included. */
  readonly seen: number;
}

/** The last frame that was new when a host let it out. */
interface LetOut {
  readonly frame: number;
  readonly generation: number;
}

/**
 * The receiving edge: the world outside, to which the VM's output goes. Takes frames in the order of their numbers from
 * whichever host lets them out, drops repeats (and compares them with what came before), refuses gaps and counts them.
 * What is typed goes to all hosts that can have the VM; only the one that has it passes it on. Frames carry generation
 * and host, so that the edge sees by itself who lets the VM's output out.
 */
export class Edge implements Disposable {
  readonly #connections: readonly AgentConnection[];
  readonly #sockets = new Map<HostRole, Socket>();
  readonly #lines = new Set<{ readonly channel: number; readonly line: Duplex }>();
  readonly #listeners: ((channel: number, bytes: Buffer, from: HostRole) => void)[] = [];
  readonly #received = new Map<number, string>();
  readonly #changed = new Tally();
  readonly #gaps = new Tally();
  /** Of migrations that are over. */
  readonly #missing_before = new Tally();
  #upTo = 0;
  /** The last frame that was seen at all, refused ones included. */
  #seen = 0;
  #before = 0;
  #repeated = 0;
  #after_switchover = 0;
  #torn = 0;
  #reckoning: Reckoning = { marks: new Map(), seen: 0 };
  /** What agents say that they have let out: the number of the last frame. */
  readonly #marks = new Map<HostRole, number>();
  readonly #let_out = new Map<HostRole, LetOut>();
  #newest = 0;
  /** New frames of a generation that had been succeeded, until the newer one lets the same out. */
  readonly #late = new Map<number, { readonly from: HostRole; readonly text: string }>();
  /** The host from which the last new frame came. */
  from: HostRole = "source";

  /** @param token what the agents want to see first */
  constructor(host: (role: HostRole) => StartedHost, token: string) {
    this.#connections = OWNERS.map((role) => this.#connect(host(role), token));
  }

  /** What has come up to now; what is missing by what was known when it was last waited for (`count`). */
  get findings(): OutputFindings {
    const late = new Tally();
    for (const { text } of this.#late.values()) late.add(text);
    const marks = [...this.#reckoning.marks].map(([host, frame]) => ({ host, frame, came: frame <= this.#upTo }));
    return {
      frames: this.#before + this.#upTo,
      repeated: this.#repeated,
      after_switchover: this.#after_switchover,
      changed: this.#changed.counted,
      late: late.counted,
      gaps: this.#gaps.counted,
      torn: this.#torn,
      missing: this.#reckon().counted,
      marks,
    };
  }

  #reckon(): Tally {
    const missing = new Tally();
    const { count, first, last } = this.#missing_before.counted;
    if (first !== undefined) missing.add(first, count, last);
    const { marks, seen } = this.#reckoning;
    const end = Math.max(seen, ...marks.values());
    if (end > this.#upTo) missing.add(`frame ${this.#upTo + 1}`, end - this.#upTo, `frame ${end}`);
    return missing;
  }

  /** An agent says that it has let out everything up to that frame. */
  marked(role: HostRole, frame: number): void {
    this.#marks.set(role, Math.max(this.#marks.get(role) ?? 0, frame));
  }

  /**
   * Waits for what is under way by now, as long as it comes: what any host says to have let out, and what stands before a
   * frame that was seen.
   * What has not come by then is missing. @param wait false: nobody is there from whom it could come
   */
  async count(wait = true): Promise<void> {
    this.#reckoning = { marks: new Map(this.#marks), seen: this.#seen };
    const end = Math.max(this.#seen, ...this.#marks.values());
    const all = (): true | undefined => (this.#upTo >= end ? true : undefined);
    for (let before = -1; wait && before < this.#upTo && all() === undefined; ) {
      before = this.#upTo;
      await waitFor({ what: "the frames that were let out", timeout_ms: UNDER_WAY_MS }, all).catch(() => undefined);
    }
  }

  /**
   * Hosts that a newer generation has succeeded: the owner lets out what is new in a generation that is newer than all
   * that came from there, and nothing new has come from there since. Waits a moment for the owner's first frame.
   * @returns undefined where the owner lets nothing out in a generation of its own: then nobody outside can tell.
   */
  async succeeded(owner: HostRole | "none"): Promise<readonly HostRole[] | undefined> {
    if (owner === "none") return undefined;
    const others = OWNERS.filter((role) => role !== owner);
    const before = (role: HostRole): number => this.#let_out.get(role)?.generation ?? 0;
    const look = (): true | undefined => others.some((role) => before(role) < before(owner)) || undefined;
    try {
      await waitFor({ what: "the owner's output", timeout_ms: UNDER_WAY_MS }, look);
    } catch {
      return undefined;
    }
    const late = [...this.#late.values()].map(({ from }) => from);
    return others.filter((role) => before(role) < before(owner) && !late.includes(role));
  }

  /** Another migration begins, with other agents: frames and generations are numbered anew. */
  anew(): void {
    const { count, first, last } = this.#reckon().counted;
    if (count > this.#missing_before.counted.count && first !== undefined)
      this.#missing_before.add(first, count - this.#missing_before.counted.count, last);
    this.#reckoning = { marks: new Map(), seen: 0 };
    this.#seen = 0;
    this.#marks.clear();
    this.#let_out.clear();
    this.#newest = 0;
    this.#before += this.#upTo;
    this.#upTo = 0;
    this.#received.clear();
    for (const socket of this.#sockets.values()) socket.destroy();
  }

  /** For every new frame, with the host that let it out. */
  onFrame(listener: (channel: number, bytes: Buffer, from: HostRole) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * What somebody outside sends in goes to all hosts that can have the VM; only the one that has it passes it on. Of what a
   * network brings so much may wait for an agent that reads nothing, more is lost.
   */
  type(channel: number, bytes: Uint8Array): void {
    const text = `${JSON.stringify({ type: Buffer.from(bytes).toString("base64"), channel })}\n`;
    for (const socket of this.#sockets.values())
      if (channel !== CARD_CHANNEL || socket.writableLength < WAITING_BYTES_MAX) socket.write(text);
  }

  /** A serial line of the VM, wherever it is. */
  line(channel: number): Duplex {
    const line = new Duplex({
      read: () => undefined,
      write: (bytes: Buffer, _encoding, done) => {
        this.type(channel, bytes);
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
          const frame = frameOf(line);
          if (frame === "torn") this.#torn += 1;
          if (frame === undefined || (frame !== "torn" && this.#take(host.role, frame))) continue;
          // What stands behind it makes no sense either: it is asked for again on another connection.
          socket.destroy();
          return;
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
    const content = `${channel}:${bytes.length <= KEPT_LENGTH_MAX ? bytes : digestOf(bytes)}`;
    const succeeded = generation < this.#newest;
    this.#newest = Math.max(this.#newest, generation);
    this.#seen = Math.max(this.#seen, frame);
    if (known !== undefined) {
      this.#repeated += 1;
      // What the newer generation lets out too was its own all along.
      if (!succeeded && known === content) this.#late.delete(frame);
      if (known !== content) {
        this.#changed.add(
          `frame ${frame} came from ${from} (generation ${generation}) with another content than before`,
        );
      }
      return true;
    }
    if (frame !== this.#upTo + 1) {
      this.#gaps.add(`frame ${frame} came from ${from} after frame ${this.#upTo}`);
      return false;
    }
    if (succeeded) {
      const text = `frame ${frame} came from ${from} in generation ${generation} when generation ${this.#newest} was letting out`;
      this.#late.set(frame, { from, text });
    }
    this.#upTo = frame;
    if (generation > 0) this.#after_switchover += 1;
    this.#received.set(frame, content);
    this.#let_out.set(from, { frame, generation });
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

function digestOf(bytes: string): string {
  return `${bytes.length} ${createHash("sha256").update(bytes).digest("base64")}`;
}

/** A frame; undefined for a line that is none (an answer to the token); torn for one that cannot be read. */
function frameOf(line: string): FrameLine | "torn" | undefined {
  try {
    const json: unknown = JSON.parse(line);
    if (typeof json === "object" && json !== null && !("frame" in json)) return undefined;
    return frameSchema.parse(json);
  } catch {
    return "torn";
  }
}
