import { PAGE_BYTES } from "../../base/page.ts";
import type { Message, Role } from "../core/index.ts";
import { COPY_ASKS, RECORD_MOVES_MS } from "../pages/copy-asks.ts";
import { PageFetcher } from "../pages/fetcher.ts";
import { PageMap } from "../pages/page-map.ts";
import type { Cluster } from "./cluster.ts";
import { type Connection, Connections } from "./connections.ts";
import type { Host } from "./hosts.ts";
import { PAGES } from "./memory.ts";
import type { Wire } from "./schedule.ts";
import { type Body, keyOf } from "./storage.ts";

type Append = Extract<Message, { kind: "append" }>;
type Ask = ConstructorParameters<typeof PageFetcher>[0]["ask"];

const PIECE_BYTES = 256 * 1024;
/** What stands around a piece or a run, so that neither is read in one turn. */
const HEAD_BYTES = 1024;
/** So much may wait for the link before the next piece is handed to it. */
const BACKLOG_BYTES = 1 << 20;
const REQUEST_BYTES = 200;
const MOVES_EVERY_MS = 40;
const TICK_MS = 10;
const RAM = "ram";

/** A record on its way from one host, and where it goes. */
interface Sending {
  readonly key: number;
  readonly connection: Connection;
  readonly life: number;
  cancelled: boolean;
  /** All of it is there. */
  here: boolean;
}

/** What is long, over the connections that there are: records in pieces, and the escrow's copy of the base. */
export class Bulk {
  readonly connections: Connections;
  readonly #cluster: Cluster;
  readonly #wire: Wire;
  readonly #sending = new Map<Role, Sending>();
  /** The record of which a piece came last to the escrow, and when that was. */
  #incoming: { readonly from: Sending; moved_ms: number } | undefined;
  #map: PageMap;
  #fetcher: PageFetcher;

  constructor(cluster: Cluster, wire: Wire) {
    this.#cluster = cluster;
    this.#wire = wire;
    this.connections = new Connections(cluster, wire);
    [this.#map, this.#fetcher] = this.#emptyCopy();
  }

  begin(): void {
    this.connections.begin();
    this.#tick();
  }

  // ---- records

  /** As `RecordSender.send`: what is on its way in a connection that stands is not sent twice. */
  send(host: Host, message: Append, body: Body): void {
    const connection = this.connections.to(host.role, "escrow");
    if (connection === undefined) return;
    const key = keyOf(message);
    const now = this.#sending.get(host.role);
    if (now?.key === key && now.connection === connection && now.life === host.life && !now.cancelled) {
      // Once more said to be there, behind what is on its way.
      if (now.here) connection.forth.push({ bytes: REQUEST_BYTES, read: () => this.#came(host, message, body) });
      return;
    }
    if (now !== undefined) now.cancelled = true;
    const sending: Sending = { key, connection, life: host.life, cancelled: false, here: false };
    this.#sending.set(host.role, sending);
    this.#pieces(host, sending, message, body);
  }

  drop(host: Host): void {
    const now = this.#sending.get(host.role);
    if (now !== undefined) now.cancelled = true;
  }

  #pieces(host: Host, sending: Sending, message: Append, body: Body): void {
    const { generation, n } = body.header;
    const { connection } = sending;
    const way = connection.forth;
    let left = body.bytes;
    let told_ms = Number.NEGATIVE_INFINITY;
    const more = (): void => {
      while (left > 0 && way.waits_bytes < BACKLOG_BYTES) {
        if (sending.cancelled || connection.ended || host.life !== sending.life) return;
        const bytes = Math.min(PIECE_BYTES, left);
        left -= bytes;
        const last = left === 0;
        way.push({
          bytes: bytes + HEAD_BYTES,
          carried: more,
          read: () => this.#pieceCame(host, sending, message, body, last),
        });
        const { now_ms } = this.#cluster;
        if (last || now_ms - told_ms < MOVES_EVERY_MS) continue;
        told_ms = now_ms;
        this.#cluster.later(host, 0, { kind: "recordSending", generation, n });
      }
    };
    more();
  }

  /** It goes to the file before more of it is read. */
  #pieceCame(host: Host, sending: Sending, message: Append, body: Body, last: boolean): number {
    this.#incoming = last ? undefined : { from: sending, moved_ms: this.#cluster.now_ms };
    if (!last) return this.#late_ms() / 4;
    sending.here = true;
    return this.#came(host, message, body);
  }

  #came(host: Host, message: Append, body: Body): number {
    const { escrow } = this.#cluster.hosts;
    escrow.bodies.set(keyOf(message), body);
    this.#cluster.event("escrow", { kind: "message", from: host.role, message });
    return 0;
  }

  // ---- the base

  /** Pages of the model that the escrow's copy lacks. */
  get missing(): number {
    const { pages_total, count } = this.#map;
    return Math.ceil((PAGES * (pages_total - count)) / pages_total);
  }

  forgetCopy(): void {
    [this.#map, this.#fetcher] = this.#emptyCopy();
  }

  #emptyCopy(): [PageMap, PageFetcher] {
    const map = new PageMap([{ name: RAM, bytes: this.#wire.base_pages * PAGE_BYTES }]);
    const ask: Ask = (runs) => this.#ask(runs);
    return [map, new PageFetcher({ ...COPY_ASKS, map, ask, deliver: () => undefined })];
  }

  #tick(): void {
    this.#fetch();
    this.#cluster.at(TICK_MS, () => this.#tick());
  }

  #fetch(): void {
    const { now_ms, model, hosts } = this.#cluster;
    const { source, escrow } = hosts;
    const serves = source.hasBase && source.state.promised.generation > 0;
    if (!serves || !escrow.agentUp || escrow.frozenUntil_ms > now_ms || this.#map.complete) return;
    this.#fetcher.yields = !model.copyTakesAll && this.#recordComes();
    this.#fetcher.tick(now_ms);
  }

  #recordComes(): boolean {
    const incoming = this.#incoming;
    return incoming !== undefined && this.#cluster.now_ms - incoming.moved_ms < RECORD_MOVES_MS;
  }

  #ask(runs: Parameters<Ask>[0]): boolean {
    const connection = this.connections.to("escrow", "source");
    connection?.forth.push({ bytes: REQUEST_BYTES, read: () => this.#serve(runs) });
    return connection !== undefined;
  }

  #serve(runs: Parameters<Ask>[0]): number {
    const { source } = this.#cluster.hosts;
    const { life } = source;
    const fetcher = this.#fetcher;
    this.#cluster.at(this.#late_ms(), () => {
      const connection = this.connections.to("source", "escrow");
      if (source.life !== life || !source.hasBase) return;
      for (const { block, first, count } of runs) {
        const read = (): number => {
          if (this.#fetcher !== fetcher) return 0;
          fetcher.answered({ block, first, pages: Array.from({ length: count }, () => null) });
          this.#fetch();
          return 0;
        };
        connection?.forth.push({ bytes: count * PAGE_BYTES + HEAD_BYTES, read });
      }
    });
    return 0;
  }

  /** Until another thread has got a processor. */
  #late_ms(): number {
    return this.connections.random.real() * this.#wire.late_ms;
  }
}
