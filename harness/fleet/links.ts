import { type Toxic, Toxiproxy, type Proxy as ToxiproxyProxy } from "toxiproxy-node-client";
import { UserError } from "../base/errors.ts";
import type { Emit, FleetHost, HostRole, LinkDirection, LinkName } from "../base/timeline.ts";
import { HOST_ROLES, STORAGE } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import { PORTS } from "./ports.ts";

/** Alias of the Toxiproxy container on the fabric. */
export const LINKS_ALIAS = "links";

/** A latency that no run outlives: what waits behind it neither arrives nor breaks the connection. */
const FOREVER_MS = 24 * 3_600_000;

const CHANGE_TIMEOUT_MS = 15_000;

/** One shape of a link; several may be in force at once. */
export type LinkShape =
  | { readonly shape: "latency"; readonly latency_ms: number; readonly jitter_ms: number }
  | { readonly shape: "bandwidth"; readonly bytes_per_s: number }
  | {
      readonly shape: "sliced";
      readonly bytes_mean: number;
      readonly bytes_variation: number;
      readonly delay_us: number;
    }
  /** After so many bytes in one direction the connection dies. */
  | { readonly shape: "byte-limit"; readonly bytes: number };

/** Takes away what one call did to a link, and leaves the rest. Does nothing the second time. */
export type Undo = () => Promise<void>;

/** What can be broken: a link, or one connection of it. */
export interface Breakable {
  readonly cutWithReset: () => Promise<Undo>;
  /** Nothing comes through, and only the end to which `direction` leads is told. */
  readonly cutTellingOne: (direction: "forward" | "backward") => Promise<Undo>;
  readonly cutSilently: (direction: LinkDirection) => Promise<Undo>;
  readonly shape: (shape: LinkShape, direction?: LinkDirection) => Promise<Undo>;
}

type LinkToxic = Toxic<Record<string, number>>;

interface Told {
  readonly direction: LinkDirection;
  readonly state: "up" | "reset" | "silent" | "shaped";
  readonly detail: string;
}

/** One thing that was done to a link, and how it is undone. */
interface Doing extends Told {
  readonly remedies: (() => Promise<unknown>)[];
}

/** One port of one ordered pair of hosts: a link has four, for either end may connect to either port of the other. */
export interface OrderedProxy {
  readonly proxy: ToxiproxyProxy;
  /** Toxiproxy's name for the direction first -> second of the link: "upstream" runs from who connects to who listens. */
  readonly forward: "upstream" | "downstream";
}

/**
 * A link: what lies between two hosts. Whoever of the two opens a connection, it passes through Toxiproxy, and so
 * whatever is done to the link is done to the connections opened from either end.
 */
export class Link implements Breakable {
  readonly name: LinkName;
  readonly ends: readonly [HostRole, FleetHost];
  readonly #proxies: OrderedProxy[];
  readonly #emit: Emit;
  /** Stands in front of everything that it tells: a part of a link is told of as such. */
  readonly #part: string;
  #connections: readonly Link[] = [];
  readonly #in_force: Doing[] = [];
  #toxics_made = 0;

  constructor(
    ends: readonly [HostRole, FleetHost],
    proxies: readonly OrderedProxy[],
    emit: Emit,
    part = "",
    name: LinkName = `${ends[0]}-${ends[1]}`,
  ) {
    this.ends = ends;
    this.name = name;
    this.#proxies = [...proxies];
    this.#emit = emit;
    this.#part = part;
  }

  /** The n-th connection, from 1, that the first end opened since the link was split. @throws UserError when it was not */
  connection(n: number): Breakable {
    const found = this.#connections[n - 1];
    if (found !== undefined) return found;
    throw new UserError(
      this.#connections.length === 0
        ? `the connections of link ${this.name} are not told apart in this run`
        : `of link ${this.name} the first ${this.#connections.length} connections can be told apart, and there is no connection ${n}`,
    );
  }

  /** Whether its connections can be told apart. */
  get split(): boolean {
    return this.#connections.length > 0;
  }

  /**
   * From now on what the first end opens goes to `upstream`, which leads it on connection by connection (split.ts).
   * Connections that are open end.
   */
  async leadOver(upstream: string, connections: readonly Link[]): Promise<void> {
    await this.leadTo(upstream);
    this.#connections = connections;
  }

  /** From now on what the first end opens to QEMU's port goes to `upstream`. Connections that are open end. */
  async leadTo(upstream: string): Promise<void> {
    const name = `${this.ends[0]}-to-${this.ends[1]}`;
    const at = this.#proxies.findIndex(({ proxy }) => proxy.name === name);
    const found = this.#proxies[at];
    if (found === undefined) throw new Error(`link ${this.name} has no proxy ${name}`);
    const { proxy, forward } = found;
    const asked = proxy.update({ enabled: true, listen: proxy.listen, upstream });
    this.#proxies[at] = { proxy: await this.#bounded(`link ${this.name} to lead to ${upstream}`, asked), forward };
  }

  /**
   * Ends every connection and refuses new ones until healed. Whoever still sends gets an RST; whoever only listens
   * gets a FIN, because Toxiproxy closes its sockets and nothing more (proxy.go, stop; a `reset_peer` toxic makes a
   * difference only to connections that begin after it: link.go, ToxicLink.Start).
   */
  async cutWithReset(): Promise<Undo> {
    return this.#do({ direction: "both", state: "reset", detail: "connections ended, new ones refused" }, async () => {
      await Promise.all(this.#proxies.map(({ proxy }) => this.#enable(proxy, false)));
    });
  }

  /**
   * The end to which `direction` leads sees its connections end as in `cutWithReset`; the other one hears nothing any more.
   * What it is told by is a limit of no bytes: with the next byte that would come to it Toxiproxy closes its socket
   * (toxics/limit_data.go), so whoever is told is one that something is sent to. That end's own end is held back from the
   * other, as in `cutSilently`, and comes to it with the healing. A connection that is opened meanwhile is accepted, and silent.
   */
  async cutTellingOne(direction: "forward" | "backward"): Promise<Undo> {
    const detail = "one end is told, the other hears nothing";
    return this.#do({ direction, state: "reset", detail }, async (doing) => {
      const silent = { ...doing, direction: direction === "forward" ? "backward" : "forward" } as const;
      await this.#add(silent, { type: "latency", attributes: { latency: FOREVER_MS, jitter: 0 } }, (toxic) =>
        this.#update(toxic, { latency: 0, jitter: 0 }),
      );
      await this.#add(silent, { type: "slow_close", attributes: { delay: FOREVER_MS } }, (toxic) =>
        this.#update(toxic, { delay: 0 }),
      );
      await this.#add(doing, { type: "limit_data", attributes: { bytes: 0 } }, (toxic) => toxic.remove());
    });
  }

  /**
   * Nothing comes through any more, and nobody is told: no FIN, no RST. What is under way waits, as it does in a
   * sender's retransmission queue, and arrives after healing. (Toxiproxy's `timeout` toxic would drop it and leave a
   * hole in the stream, which no network does; so this is a latency without end, and behind it a slow close without
   * end, for a latency lets the end of a stream pass: toxics/latency.go, toxics/slow_close.go. Healing sets both to
   * nothing; taking them away would drop what a receiver that stands still has not taken within 5 s: link.go,
   * RemoveToxic.) A connection that is opened meanwhile is accepted, and stays silent.
   */
  async cutSilently(direction: LinkDirection): Promise<Undo> {
    return this.#do({ direction, state: "silent", detail: "nothing comes through, no reset" }, async (doing) => {
      await this.#add(doing, { type: "latency", attributes: { latency: FOREVER_MS, jitter: 0 } }, (toxic) =>
        this.#update(toxic, { latency: 0, jitter: 0 }),
      );
      await this.#add(doing, { type: "slow_close", attributes: { delay: FOREVER_MS } }, (toxic) =>
        this.#update(toxic, { delay: 0 }),
      );
    });
  }

  /**
   * An end of it was off the fabric and is back. Toxiproxy dials for one connection after the other (proxy.go, server), for
   * those too whose opener has given up long since: whoever opened one again and again while nobody was there would wait for
   * many seconds until its last one is come to. So all that were opened by now end; those that stood were of an interface
   * that is no more.
   */
  async beginAnew(): Promise<void> {
    const isCut = (): boolean => this.#in_force.some(({ state }) => state === "reset");
    if (isCut()) return;
    const each = this.#proxies.map(async ({ proxy }) => {
      await this.#enable(proxy, false);
      // It may have been cut meanwhile: then it stays so.
      if (!isCut()) await this.#enable(proxy, true);
    });
    await this.#bounded(`link ${this.name} to begin anew`, Promise.all(each));
  }

  /** Whether something that was done to it keeps everything back, or silently does, and is not undone. */
  get broken(): boolean {
    return this.#in_force.some(({ state }) => state === "reset" || state === "silent");
  }

  /** Undoes all that was done to it. */
  async mend(): Promise<void> {
    await this.#undo([...this.#in_force]);
  }

  /** A toxic is per connection: with `bandwidth` each connection has so much for itself, and a link carries the sum. */
  async shape(shape: LinkShape, direction: LinkDirection = "both"): Promise<Undo> {
    const { shape: name, ...settings } = shape;
    const detail = `${name} ${JSON.stringify(settings)}`;
    return this.#do({ direction, state: "shaped", detail }, (doing) =>
      this.#add(doing, toxicOf(shape), (toxic) => toxic.remove()),
    );
  }

  async #do(what: Pick<Doing, "direction" | "state" | "detail">, how: (doing: Doing) => Promise<void>): Promise<Undo> {
    const doing: Doing = { ...what, remedies: [] };
    this.#in_force.push(doing);
    try {
      await this.#bounded(`link ${this.name} to be broken`, how(doing));
    } catch (error) {
      await this.#undo([doing]).catch(() => undefined);
      throw error;
    }
    this.#tell(doing);
    return () => this.#undo([doing]);
  }

  async #undo(doings: readonly Doing[]): Promise<void> {
    const undone = doings.filter((doing) => this.#in_force.includes(doing));
    for (const doing of undone) this.#in_force.splice(this.#in_force.indexOf(doing), 1);
    const undoing = (async () => {
      // One after the other, the last first. A toxic that holds data for an end that is closed is stuck as soon as the one
      // before it lets go (nobody reads its output), and then takes no change any more, and Toxiproxy with it
      // (toxics/toxic.go, InterruptToxic): so the one that the data meets last is changed while nothing has reached it.
      for (const { remedies } of undone) for (const remedy of remedies.toReversed()) await remedy();
      if (this.#in_force.some(({ state, direction }) => state === "reset" && direction === "both")) return;
      await Promise.all(this.#proxies.map(({ proxy }) => this.#enable(proxy, true)));
    })();
    await this.#bounded(`link ${this.name} to heal`, undoing);
    this.#tell({ direction: "both", state: "up", detail: "healed" });
    // What else was done to the link is in force still.
    for (const doing of this.#in_force) this.#tell(doing);
  }

  async #add(
    doing: Doing,
    toxic: { type: ToxicType; attributes: Record<string, number> },
    remedy: (toxic: LinkToxic) => Promise<unknown>,
  ): Promise<void> {
    const number = ++this.#toxics_made;
    await Promise.all(
      this.#proxies.flatMap(({ proxy, forward }) =>
        sides(doing.direction).map(async (direction) => {
          const stream = (direction === "forward") === (forward === "upstream") ? "upstream" : "downstream";
          const name = `${toxic.type}-${number}-${stream}`;
          const added = await proxy.addToxic({ ...toxic, name, stream, toxicity: 1 });
          doing.remedies.push(() => remedy(added));
        }),
      ),
    );
  }

  async #update(toxic: LinkToxic, attributes: Record<string, number>): Promise<void> {
    const { name, type, stream, toxicity } = toxic;
    await toxic.update({ name, type, stream, toxicity, attributes });
  }

  async #enable(proxy: ToxiproxyProxy, enabled: boolean): Promise<void> {
    await proxy.update({ enabled, listen: proxy.listen, upstream: proxy.upstream });
  }

  /** Toxiproxy may keep its caller waiting for as long as a receiver takes nothing (toxics/toxic.go, InterruptToxic). */
  #bounded<T>(what: string, asked: Promise<T>): Promise<T> {
    return within({ what, timeout_ms: CHANGE_TIMEOUT_MS }, asked);
  }

  #tell({ direction, state, detail: what }: Told): void {
    const detail = `${this.#part}${what}`;
    this.#emit(`link:${this.name}`, { kind: "link.state", link: this.name, direction, state, detail });
  }
}

type ToxicType = "latency" | "bandwidth" | "slicer" | "limit_data" | "slow_close";

function toxicOf(shape: LinkShape): { type: ToxicType; attributes: Record<string, number> } {
  switch (shape.shape) {
    case "latency":
      return { type: "latency", attributes: { latency: shape.latency_ms, jitter: shape.jitter_ms } };
    case "bandwidth":
      return { type: "bandwidth", attributes: { rate: Math.max(1, Math.round(shape.bytes_per_s / 1_000)) } };
    case "sliced":
      return {
        type: "slicer",
        attributes: {
          average_size: shape.bytes_mean,
          size_variation: shape.bytes_variation,
          delay: shape.delay_us,
        },
      };
    case "byte-limit":
      return { type: "limit_data", attributes: { bytes: shape.bytes } };
  }
}

function sides(direction: LinkDirection): readonly ("forward" | "backward")[] {
  return direction === "both" ? ["forward", "backward"] : [direction];
}

interface Address {
  readonly host: string;
  readonly port: number;
}

/** Where a host connects to reach another: an address on the fabric, always Toxiproxy's. */
export function linkAddress(from: HostRole, to: HostRole): Address {
  return { host: LINKS_ALIAS, port: PORTS.link + 1 + pairNumber(from, to) };
}

/** The same for the port of bulk data. It is the same link: what is done to the link is done to both. */
export function bulkAddress(from: HostRole, to: HostRole): Address {
  return { host: LINKS_ALIAS, port: PORTS.bulk + 1 + pairNumber(from, to) };
}

/** Where a host finds the disks that the storage host exports. */
export function storageAddress(from: HostRole): Address {
  return { host: LINKS_ALIAS, port: PORTS.storage + 1 + HOST_ROLES.indexOf(from) };
}

export function pairNumber(from: HostRole, to: HostRole): number {
  return HOST_ROLES.indexOf(from) * HOST_ROLES.length + HOST_ROLES.indexOf(to);
}

export function makeProxy(
  toxiproxy: Toxiproxy,
  what: { readonly name: string; readonly port: number; readonly upstream: string },
): Promise<ToxiproxyProxy> {
  const { name, port, upstream } = what;
  const making = toxiproxy.createProxy({ name, listen: `0.0.0.0:${port}`, upstream, enabled: true });
  return within({ what: `Toxiproxy to make ${name}`, timeout_ms: CHANGE_TIMEOUT_MS }, making);
}

/** A connection that the harness wants made between two hosts: where the one listens and the other connects to. */
export interface Way {
  readonly listen: Address;
  readonly connect: Address;
}

/**
 * A way from one host to another through Toxiproxy that is no link's: what lies on the link does not lie on it, and
 * nobody is on it. (Over a link somebody may be: while a host is cut off from the fabric, Toxiproxy goes on dialling it
 * for whoever asked, and reaches it when it is back, long after they have gone.)
 * @param to_address the host's on the fabric: a name may still be asked for that nobody knew while it was cut off, and who asks
 *   meanwhile shares that answer (Go's resolver), five seconds later
 */
export async function openWay(toxiproxy_url: string, from: HostRole, to: HostRole, to_address: string): Promise<Way> {
  const port = PORTS.way + pairNumber(from, to);
  const upstream = `${to_address}:${PORTS.way}`;
  await makeProxy(new Toxiproxy(toxiproxy_url), { name: `${from}-to-${to}-way`, port, upstream });
  return { listen: { host: "0.0.0.0", port: PORTS.way }, connect: { host: LINKS_ALIAS, port } };
}

const PAIRS: readonly (readonly [HostRole, HostRole])[] = [
  ["source", "target"],
  ["source", "escrow"],
  ["target", "escrow"],
];

/** Makes the links from each host to the storage. Nobody connects the other way. */
export async function openStorageLinks(toxiproxy_url: string, emit: Emit): Promise<readonly Link[]> {
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  return Promise.all(
    HOST_ROLES.map(async (from) => {
      const { port } = storageAddress(from);
      const upstream = `${STORAGE}:${PORTS.storage}`;
      const proxy = await makeProxy(toxiproxy, { name: `${from}-to-${STORAGE}`, port, upstream });
      return new Link([from, STORAGE], [{ proxy, forward: "upstream" }], emit);
    }),
  );
}

/** Makes the proxies for every ordered pair of hosts, two each, and joins them to the three links. */
export async function openLinks(toxiproxy_url: string, emit: Emit): Promise<readonly Link[]> {
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  const both = async (from: HostRole, to: HostRole, forward: OrderedProxy["forward"]): Promise<OrderedProxy[]> => {
    const name = `${from}-to-${to}`;
    const made = await Promise.all([
      makeProxy(toxiproxy, { name, port: linkAddress(from, to).port, upstream: `${to}:${PORTS.link}` }),
      makeProxy(toxiproxy, {
        name: `${name}-bulk`,
        port: bulkAddress(from, to).port,
        upstream: `${to}:${PORTS.bulk}`,
      }),
    ]);
    return made.map((proxy) => ({ proxy, forward }));
  };
  return Promise.all(
    PAIRS.map(async ([a, b]) => {
      const [there, back] = await Promise.all([both(a, b, "upstream"), both(b, a, "downstream")]);
      return new Link([a, b], [...there, ...back], emit);
    }),
  );
}
