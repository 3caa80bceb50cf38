import type { Message, Role } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";
import type { Pair } from "./schedule.ts";

export type Direction = "both" | "forward" | "backward";

/** Links between the hosts: they delay, repeat, and lose what is under way when they are cut. */
export class Network {
  readonly #cluster: Cluster;
  /** How often each direction is cut, by `linkIndex()`. */
  readonly #cut = new Uint8Array(9);

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  cut(pair: Pair, direction: Direction): void {
    for (const key of cutKeys(pair, direction)) this.#cut[key] = (this.#cut[key] ?? 0) + 1;
  }

  heal(pair: Pair, direction: Direction): void {
    for (const key of cutKeys(pair, direction)) this.#cut[key] = (this.#cut[key] ?? 1) - 1;
  }

  /** Is the direction from one host to another alive? */
  pathOk(from: Role, to: Role): boolean {
    return this.#cut[linkIndex(from, to)] === 0;
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
    if (!this.pathOk(from, to)) return;
    const body = message.kind === "append" ? host.bodies.get(message.generation * 10_000 + message.n) : undefined;
    const times = random.chance(0.03) ? 2 : 1;
    for (let i = 0; i < times; i += 1) {
      const delay_ms = random.chance(0.04) ? 20 + random.real() * 180 : 0.3 + random.real() * 6;
      cluster.at(delay_ms, () => {
        // What is under way when a link is cut is lost with it.
        if (!this.pathOk(from, to)) return;
        if (body !== undefined) cluster.hosts[to].bodies.set(body.header.generation * 10_000 + body.header.n, body);
        cluster.event(to, { kind: "message", from, message });
      });
    }
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
