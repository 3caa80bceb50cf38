import { type Toxic, Toxiproxy, type Proxy as ToxiproxyProxy } from "toxiproxy-node-client";
import type { Emit, HostRole, LinkDirection, LinkName } from "../base/timeline.ts";
import { HOST_ROLES } from "../base/timeline.ts";
import { PORTS } from "./ports.ts";

/** Alias of the Toxiproxy container on the fabric. */
export const LINKS_ALIAS = "links";

/** A latency that no run outlives: what waits behind it neither arrives nor breaks the connection. */
const FOREVER_MS = 24 * 3_600_000;

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

interface OrderedProxy {
  readonly proxy: ToxiproxyProxy;
  /** Toxiproxy's name for the direction first -> second of the link: "upstream" runs from who connects to who listens. */
  readonly forward: "upstream" | "downstream";
}

/**
 * A link: what lies between two hosts. Whoever of the two opens a connection, it passes through Toxiproxy, and so
 * whatever is done to the link is done to the connections opened from either end.
 */
export class Link {
  readonly name: LinkName;
  readonly ends: readonly [HostRole, HostRole];
  readonly #proxies: readonly OrderedProxy[];
  readonly #emit: Emit;
  readonly #toxics: Toxic<Record<string, number>>[] = [];
  #toxics_made = 0;

  constructor(ends: readonly [HostRole, HostRole], proxies: readonly OrderedProxy[], emit: Emit) {
    this.ends = ends;
    this.name = `${ends[0]}-${ends[1]}`;
    this.#proxies = proxies;
    this.#emit = emit;
  }

  /** Resets every connection (RST) and refuses new ones until healed. */
  async cutWithReset(): Promise<void> {
    await this.#each(["forward", "backward"], { type: "reset_peer", attributes: { timeout: 0 } });
    await Promise.all(this.#proxies.map(({ proxy }) => this.#enable(proxy, false)));
    this.#tell("both", "reset", "connections reset, new ones refused");
  }

  /**
   * Nothing comes through any more, and nobody is told: no FIN, no RST. What is under way waits, as it does in a
   * sender's retransmission queue, and arrives after healing. (Toxiproxy's `timeout` toxic would drop it and leave a
   * hole in the stream, which no network does; so this is a latency without end, whose queue is let go at once when
   * the toxic is removed: toxiproxy toxics/latency.go, Pipe.)
   */
  async cutSilently(direction: LinkDirection): Promise<void> {
    await this.#each(sides(direction), { type: "latency", attributes: { latency: FOREVER_MS, jitter: 0 } });
    this.#tell(direction, "silent", "nothing comes through, no reset");
  }

  async shape(shape: LinkShape, direction: LinkDirection = "both"): Promise<void> {
    await this.#each(sides(direction), toxicOf(shape));
    const { shape: name, ...settings } = shape;
    this.#tell(direction, "shaped", `${name} ${JSON.stringify(settings)}`);
  }

  /** Takes away everything that was done to the link. */
  async heal(): Promise<void> {
    const toxics = this.#toxics.splice(0);
    await Promise.all(toxics.map((toxic) => toxic.remove()));
    await Promise.all(this.#proxies.map(({ proxy }) => this.#enable(proxy, true)));
    this.#tell("both", "up", "healed");
  }

  async #each(
    directions: readonly ("forward" | "backward")[],
    toxic: { type: ToxicType; attributes: Record<string, number> },
  ): Promise<void> {
    const number = ++this.#toxics_made;
    const added = await Promise.all(
      this.#proxies.flatMap(({ proxy, forward }) =>
        directions.map((direction) => {
          const stream = (direction === "forward") === (forward === "upstream") ? "upstream" : "downstream";
          return proxy.addToxic({ ...toxic, name: `${toxic.type}-${number}-${stream}`, stream, toxicity: 1 });
        }),
      ),
    );
    this.#toxics.push(...added);
  }

  async #enable(proxy: ToxiproxyProxy, enabled: boolean): Promise<void> {
    await proxy.update({ enabled, listen: proxy.listen, upstream: proxy.upstream });
  }

  #tell(direction: LinkDirection, state: "up" | "reset" | "silent" | "shaped", detail: string): void {
    this.#emit(`link:${this.name}`, { kind: "link.state", link: this.name, direction, state, detail });
  }
}

type ToxicType = "latency" | "bandwidth" | "slicer" | "limit_data" | "reset_peer";

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

/** Where a host connects to reach another: an address on the fabric, always Toxiproxy's. */
export function linkAddress(from: HostRole, to: HostRole): { readonly host: string; readonly port: number } {
  return {
    host: LINKS_ALIAS,
    port: PORTS.link + 1 + HOST_ROLES.indexOf(from) * HOST_ROLES.length + HOST_ROLES.indexOf(to),
  };
}

/** Makes the proxies for every ordered pair of hosts and joins them to the three links. */
export async function openLinks(toxiproxy_url: string, emit: Emit): Promise<readonly Link[]> {
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  const proxy = (from: HostRole, to: HostRole): Promise<ToxiproxyProxy> =>
    toxiproxy.createProxy({
      name: `${from}-to-${to}`,
      listen: `0.0.0.0:${linkAddress(from, to).port}`,
      upstream: `${to}:${PORTS.link}`,
      enabled: true,
    });
  const pairs: readonly (readonly [HostRole, HostRole])[] = [
    ["source", "target"],
    ["source", "escrow"],
    ["target", "escrow"],
  ];
  return Promise.all(
    pairs.map(async ([a, b]) => {
      const [there, back] = await Promise.all([proxy(a, b), proxy(b, a)]);
      return new Link(
        [a, b],
        [
          { proxy: there, forward: "upstream" },
          { proxy: back, forward: "downstream" },
        ],
        emit,
      );
    }),
  );
}
