import type { EventBody, Message, Role } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import type { Pair } from "./schedule.ts";
import { keyOf } from "./storage.ts";

export type Direction = "both" | "forward" | "backward";

/** How often a shell says that bytes of what is long still move. */
const MOVING_MS = 50;
/** More than that is not lost in the noise of a delay. */
const BULK_MS = 2;

/** What comes with a message and takes its time. */
interface Load {
  readonly bytes: number;
  /** What its sender's shell says while it moves. */
  readonly moves: EventBody;
  /** It is there. */
  readonly arrives: (receiver: Host) => void;
}

/**
 * Links between the hosts: they delay, repeat, and lose what is under way when they are cut. Words go at once; records and
 * the package go one after another, as fast as the link is.
 */
export class Network {
  readonly #cluster: Cluster;
  /** How often each direction is cut, when it last was, and until when it carries what is long, by `linkIndex()`. */
  readonly #cut = new Uint8Array(9);
  readonly #cutAt_ms = new Float64Array(9).fill(-1);
  readonly #busyUntil_ms = new Float64Array(9);

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  cut(pair: Pair, direction: Direction): void {
    for (const key of cutKeys(pair, direction)) {
      this.#cut[key] = (this.#cut[key] ?? 0) + 1;
      this.#cutAt_ms[key] = this.#cluster.now_ms;
      this.#busyUntil_ms[key] = 0;
    }
  }

  heal(pair: Pair, direction: Direction): void {
    for (const key of cutKeys(pair, direction)) this.#cut[key] = (this.#cut[key] ?? 1) - 1;
    this.#cluster.bulk?.connections.goOn();
  }

  /** Is the direction from one host to another alive, and are they for each other who they say they are? */
  pathOk(from: Role, to: Role): boolean {
    return this.#cut[linkIndex(from, to)] === 0 && this.#answers(from, to);
  }

  #answers(from: Role, to: Role): boolean {
    if (from !== "escrow" && to !== "escrow") return true;
    const { hosts } = this.#cluster;
    return hosts[from === "escrow" ? to : from].state.escrow === hosts.escrow.key;
  }

  canTalk(a: Role, b: Role): boolean {
    const { hosts } = this.#cluster;
    const up = (role: Role): boolean => hosts[role].up && hosts[role].agentUp;
    return up(a) && up(b) && this.pathOk(a, b) && this.pathOk(b, a);
  }

  send(host: Host, to: Role, message: Message): void {
    const cluster = this.#cluster;
    const { random } = cluster;
    const from = host.role;
    if (this.#byConnection(host, message)) return;
    if (!this.pathOk(from, to)) return;
    const load = this.#loadOf(host, message);
    const late_ms = cluster.faults.delayOf(from, message.kind);
    const times = random.chance(0.03) ? 2 : 1;
    for (let i = 0; i < times; i += 1) {
      const delay_ms = random.chance(0.04) ? 20 + random.real() * 180 : 0.3 + random.real() * 6;
      if (load === undefined) this.#deliver(from, to, message, delay_ms + late_ms);
      else this.#stream(host, to, message, load, delay_ms + late_ms);
    }
  }

  /** A record, where connections are played. */
  #byConnection(host: Host, message: Message): boolean {
    const { bulk, faults } = this.#cluster;
    const body = message.kind === "append" ? host.bodies.get(keyOf(message)) : undefined;
    if (bulk === null || body === undefined || message.kind !== "append") return false;
    const { life } = host;
    this.#cluster.at(faults.delayOf(host.role, message.kind), () => {
      if (host.life === life) bulk.send(host, message, body);
    });
    return true;
  }

  #loadOf(host: Host, message: Message): Load | undefined {
    if (message.kind === "package") {
      const bytes = this.#cluster.schedule.size.package_bytes;
      const { package: snapshot } = host;
      return {
        bytes,
        moves: { kind: "packageSending" },
        arrives: (receiver) => {
          receiver.arrived = snapshot;
        },
      };
    }
    const body = message.kind === "append" ? host.bodies.get(keyOf(message)) : undefined;
    if (body === undefined) return undefined;
    const { generation, n } = body.header;
    return {
      bytes: body.bytes,
      moves: { kind: "recordSending", generation, n },
      arrives: (receiver) => void receiver.bodies.set(keyOf(body.header), body),
    };
  }

  #deliver(from: Role, to: Role, message: Message, delay_ms: number): void {
    this.#cluster.at(delay_ms, () => {
      // What is under way when a link is cut is lost with it.
      if (this.pathOk(from, to)) this.#cluster.event(to, { kind: "message", from, message });
    });
  }

  /** What is long: encoded, carried, and there when all of it is. */
  #stream(host: Host, to: Role, message: Message, load: Load, delay_ms: number): void {
    const cluster = this.#cluster;
    const { size } = cluster.schedule;
    const { now_ms } = cluster;
    const key = linkIndex(host.role, to);
    const handle_ms = load.bytes / size.copy_bytes_per_ms;
    if (cluster.model.oneThread) host.stalledUntil_ms = Math.max(now_ms, host.stalledUntil_ms) + handle_ms;
    const start_ms = Math.max(now_ms + handle_ms, this.#busyUntil_ms[key] ?? 0);
    const end_ms = start_ms + load.bytes / size.link_bytes_per_ms;
    this.#busyUntil_ms[key] = end_ms;
    const receiver = cluster.hosts[to];
    const [life, theirs] = [host.life, receiver.life];
    const bulk = end_ms - now_ms > BULK_MS;
    const lost = (): boolean =>
      !this.pathOk(host.role, to) || (bulk && ((this.#cutAt_ms[key] ?? 0) >= now_ms || receiver.life !== theirs));
    const move = (): void => {
      if (cluster.now_ms + MOVING_MS >= end_ms || lost() || host.life !== life) return;
      cluster.at(MOVING_MS, () => {
        if (host.life === life) cluster.event(host.role, load.moves);
        move();
      });
    };
    if (bulk) move();
    cluster.at(end_ms - now_ms + delay_ms, () => {
      if (lost()) return;
      if (cluster.model.oneThread && receiver.up) {
        receiver.stalledUntil_ms = Math.max(cluster.now_ms, receiver.stalledUntil_ms) + handle_ms;
      }
      load.arrives(receiver);
      cluster.event(to, { kind: "message", from: host.role, message });
    });
  }
}

function cutKeys(pair: Pair, direction: Direction): readonly number[] {
  const [a, b] = pair.split("-") as [Role, Role];
  if (direction === "forward") return [linkIndex(a, b)];
  if (direction === "backward") return [linkIndex(b, a)];
  return [linkIndex(a, b), linkIndex(b, a)];
}

function linkIndex(from: Role, to: Role): number {
  return indexOf(from) * 3 + indexOf(to);
}

function indexOf(role: Role): number {
  return role === "source" ? 0 : role === "target" ? 1 : 2;
}
