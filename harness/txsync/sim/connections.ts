import { hears, type Role } from "../core/index.ts";
import { Dialling, REDIAL_MS } from "../wire/dialling.ts";
import type { Cluster } from "./cluster.ts";
import { DataThread, Inlet, type Load } from "./data-thread.ts";
import { type Host, TIMING } from "./hosts.ts";
import { Random } from "./random.ts";
import { ROLES, type Wire } from "./schedule.ts";

/** Hello and proof, there and back. */
const GREETINGS = 2;
const GREETING_BYTES = 100;
/** What a receiver's system keeps of a connection that is not read. */
const WINDOW_BYTES = 4 * 1024 * 1024;
const LOOK_MS = 25;
/** The other end of a connection that leads nowhere notices at last, so long after the link is whole. */
const NOTICED_MS = 2_000;

/** One direction of a connection: what is handed to it is carried in order, as fast as the link is, and then read. */
class Way {
  readonly #connections: Connections;
  readonly #from: Role;
  readonly #to: Role;
  readonly #waits: Load[] = [];
  readonly #inlet: Inlet;
  #carries = false;
  /** Handed over, and not carried. */
  waits_bytes = 0;

  constructor(connections: Connections, from: Role, to: Role) {
    this.#connections = connections;
    this.#from = from;
    this.#to = to;
    this.#inlet = new Inlet(() => this.goOn());
  }

  push(load: Load): void {
    this.#waits.push(load);
    this.waits_bytes += load.bytes;
    this.goOn();
  }

  end(): void {
    this.#inlet.ended = true;
  }

  /** What a cut link, or a receiver that is full, has kept back is carried where that is over. */
  goOn(): void {
    const { cluster, random, threads } = this.#connections;
    const [load] = this.#waits;
    const full = this.#inlet.came_bytes >= WINDOW_BYTES;
    const ended = this.#inlet.ended;
    if (this.#carries || ended || load === undefined || full || !cluster.network.pathOk(this.#from, this.#to)) return;
    this.#carries = true;
    cluster.at(0.2 + random.real() + load.bytes / cluster.schedule.size.link_bytes_per_ms, () => {
      this.#carries = false;
      // Kept back, and carried when the link is whole.
      if (this.#inlet.ended || !cluster.network.pathOk(this.#from, this.#to)) return;
      this.#waits.shift();
      this.waits_bytes -= load.bytes;
      threads[this.#to].came(this.#inlet, load);
      load.carried?.();
      this.goOn();
    });
  }
}

/** From who dialled it, who alone says something on it, to who was dialled. */
export class Connection {
  readonly forth: Way;
  readonly back: Way;
  /** Of the one that was dialled: another life of its agent knows nothing of it. */
  readonly life: number;
  up = false;
  ended = false;
  /** Nothing that is said on it will ever be heard. */
  dead = false;
  /** Since when it could be. */
  whole_ms: number | undefined;

  constructor(connections: Connections, from: Role, to: Host) {
    this.forth = new Way(connections, from, to.role);
    this.back = new Way(connections, to.role, from);
    this.life = to.life;
  }

  end(): void {
    this.ended = true;
    this.forth.end();
    this.back.end();
  }
}

/** What an agent has dialled to one peer, made again whenever it is gone, by the rules that ship. */
class Line {
  readonly #connections: Connections;
  readonly #from: Host;
  readonly #to: Host;
  readonly #dialling = new Dialling(TIMING.lease_ms);
  readonly #life: number;
  #connection: Connection | undefined;

  constructor(connections: Connections, from: Host, to: Host) {
    this.#connections = connections;
    this.#from = from;
    this.#to = to;
    this.#life = from.life;
    this.#dial();
  }

  get up(): Connection | undefined {
    return this.#connection?.up === true ? this.#connection : undefined;
  }

  get #isOurs(): boolean {
    return this.#from.life === this.#life && this.#from.agentUp;
  }

  renew(): void {
    if (this.#dialling.isOld(this.#connections.cluster.now_ms)) this.#dial();
  }

  redialUnlessUp(): void {
    this.#dialling.heardAgain();
    if (this.up === undefined) this.#dial();
  }

  goOn(): void {
    this.#connection?.forth.goOn();
    this.#connection?.back.goOn();
  }

  /** What the other end, or the system, makes of it. */
  look(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    const { cluster } = this.#connections;
    const whole = cluster.network.pathOk(this.#from.role, this.#to.role) && this.#isThere;
    if (!whole) return;
    if (connection.life !== this.#to.life) this.#ended(connection);
    if (!connection.dead) return;
    connection.whole_ms ??= cluster.now_ms;
    if (cluster.now_ms - connection.whole_ms >= NOTICED_MS) this.#ended(connection);
  }

  get #isThere(): boolean {
    return this.#connections.cluster.network.pathOk(this.#to.role, this.#from.role) && this.#to.up;
  }

  end(): void {
    this.#connection?.end();
    this.#connection = undefined;
  }

  #dial(): void {
    this.end();
    const { cluster } = this.#connections;
    const connection = new Connection(this.#connections, this.#from.role, this.#to);
    this.#connection = connection;
    this.#tell("dials");
    const most_ms = this.#dialling.dialled(cluster.now_ms);
    if (!cluster.model.deadLines) {
      cluster.at(most_ms, () => {
        if (connection.up || connection.ended) return;
        this.#tell("gives up what it has dialled to");
        this.#dialling.ledNowhere();
        this.#ended(connection);
      });
    }
    this.#greet(connection, GREETINGS);
  }

  #tell(what: string): void {
    const { now_ms, trace } = this.#connections.cluster;
    trace?.push(`${now_ms.toFixed(1)} ${this.#from.role} ${what} ${this.#to.role}`);
  }

  #greet(connection: Connection, left: number): void {
    const whole = this.#connections.cluster.network.pathOk(this.#from.role, this.#to.role) && this.#isThere;
    connection.dead = !whole;
    if (!whole) return;
    // Nobody listens there: that is said at once.
    if (!this.#to.agentUp || this.#to.life !== connection.life) {
      this.#ended(connection);
      return;
    }
    const answered = (): number => {
      if (left > 1) this.#greet(connection, left - 1);
      else {
        this.#dialling.isUp();
        connection.up = true;
        this.#tell("is greeted by");
      }
      return 0;
    };
    const heard = (): number => {
      connection.back.push({ bytes: GREETING_BYTES, read: answered });
      return 0;
    };
    connection.forth.push({ bytes: GREETING_BYTES, read: heard });
  }

  #ended(connection: Connection): void {
    connection.end();
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#connections.cluster.at(REDIAL_MS, () => {
      if (this.#isOurs && this.#connection === undefined) this.#dial();
    });
  }
}

/**
 * The connections of the data planes. Each agent dials one to each peer, and says nothing before it was greeted. On one that
 * was dialled into a cut link nothing is ever heard; what stands keeps back what a cut is in the way of.
 */
export class Connections {
  readonly cluster: Cluster;
  readonly random: Random;
  readonly threads: Readonly<Record<Role, DataThread>>;
  readonly #lines = new Map<string, { readonly life: number; readonly line: Line }>();
  /** When an agent had its last heartbeat. */
  readonly #beat_ms: Record<Role, number> = { source: 0, target: 0, escrow: 0 };

  constructor(cluster: Cluster, { read_bytes_per_ms }: Wire) {
    this.cluster = cluster;
    this.random = new Random(cluster.schedule.seed ^ 0x1f83d9ab);
    const thread = (role: Role): DataThread => new DataThread(cluster, cluster.hosts[role], read_bytes_per_ms);
    this.threads = { source: thread("source"), target: thread("target"), escrow: thread("escrow") };
  }

  begin(): void {
    this.#look();
  }

  /** The present connection there, if it leads to the peer. */
  to(from: Role, to: Role): Connection | undefined {
    const host = this.cluster.hosts[from];
    const made = this.#lines.get(`${from}:${to}`);
    return made?.life === host.life && host.agentUp ? made.line.up : undefined;
  }

  /** A link is whole again, or may be. */
  goOn(): void {
    for (const { line } of this.#lines.values()) line.goOn();
  }

  #look(): void {
    for (const from of ROLES) {
      const host = this.cluster.hosts[from];
      const works = host.up && host.agentUp;
      for (const to of ROLES) if (to !== from) this.#keep(host, to, works);
      if (works && host.frozenUntil_ms <= this.cluster.now_ms) this.#beat(host);
    }
    this.cluster.at(LOOK_MS, () => this.#look());
  }

  #keep(host: Host, to: Role, works: boolean): void {
    const key = `${host.role}:${to}`;
    const made = this.#lines.get(key);
    if (made?.life === host.life && works) {
      made.line.look();
      return;
    }
    made?.line.end();
    this.#lines.delete(key);
    if (works) this.#lines.set(key, { life: host.life, line: new Line(this, host, this.cluster.hosts[to]) });
  }

  /** As an agent does at its heartbeats. */
  #beat(host: Host): void {
    const { now_ms } = this.cluster;
    const { role } = host;
    if (now_ms - this.#beat_ms[role] < TIMING.heartbeat_ms) return;
    this.#beat_ms[role] = now_ms;
    const silent = ROLES.filter((peer) => peer !== role && !hears(host.state, peer));
    for (const peer of silent) this.#lines.get(`${role}:${peer}`)?.line.renew();
  }

  heardAgain(by: Role, peer: Role): void {
    if (!this.cluster.model.deadLines) this.#lines.get(`${by}:${peer}`)?.line.redialUnlessUp();
  }
}
