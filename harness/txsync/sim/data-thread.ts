import { READ_BYTES, Turn } from "../wire/turn.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";

/** So often Node reads on of a connection on which more comes. */
const READS_MOST = 32;

/** What comes over a connection: nothing is known of it before all of it was read. */
export interface Load {
  readonly bytes: number;
  /** The link has carried it. */
  readonly carried?: () => void;
  /** @returns for how long no more is read of the connection, ms: what was read is brought somewhere first */
  readonly read: () => number;
}

/** One end of a connection, from where the link ends to where it is read. */
export class Inlet {
  /** What came and was not read, and how much of the first was. */
  readonly came: Load[] = [];
  came_bytes = 0;
  read_bytes = 0;
  held = false;
  ended = false;
  /** There may be room for more. */
  readonly onRead: () => void;
  readonly turn = new Turn();
  reads = 0;

  constructor(onRead: () => void) {
    this.onRead = onRead;
  }

  get readable(): boolean {
    return this.came.length > 0 && !this.held && !this.ended;
  }
}

/**
 * The thread of a host that reads every connection of its data plane: one after the other, each for one turn, and what it
 * reads takes time by its size. What comes meanwhile to a connection that had its turn waits for the next round.
 */
export class DataThread {
  readonly #cluster: Cluster;
  readonly #host: Host;
  readonly #bytes_per_ms: number;
  readonly #inlets = new Set<Inlet>();
  #round: Inlet[] = [];
  #works = false;

  constructor(cluster: Cluster, host: Host, bytes_per_ms: number) {
    this.#cluster = cluster;
    this.#host = host;
    this.#bytes_per_ms = bytes_per_ms;
  }

  came(inlet: Inlet, load: Load): void {
    inlet.came.push(load);
    inlet.came_bytes += load.bytes;
    this.#inlets.add(inlet);
    this.#wake();
  }

  #wake(): void {
    if (this.#works) return;
    this.#works = true;
    this.#next();
  }

  #next(): void {
    const { frozenUntil_ms } = this.#host;
    const { now_ms } = this.#cluster;
    if (frozenUntil_ms > now_ms) {
      this.#cluster.at(frozenUntil_ms - now_ms, () => this.#next());
      return;
    }
    while (this.#round[0]?.readable === false) this.#round.shift();
    if (this.#round.length === 0) this.#beginRound();
    const [inlet] = this.#round;
    if (inlet === undefined) this.#works = false;
    else this.#read(inlet);
  }

  #beginRound(): void {
    for (const inlet of this.#inlets) {
      if (inlet.ended || inlet.came.length === 0) this.#inlets.delete(inlet);
      inlet.turn.begin();
      inlet.reads = 0;
      if (inlet.readable) this.#round.push(inlet);
    }
  }

  #read(inlet: Inlet): void {
    const [load] = inlet.came;
    if (load === undefined) return;
    const bytes = Math.min(READ_BYTES, load.bytes - inlet.read_bytes);
    this.#cluster.at(bytes / this.#bytes_per_ms, () => {
      inlet.read_bytes += bytes;
      inlet.reads += 1;
      const over = inlet.turn.took(bytes);
      if (this.#cluster.model.longTurns ? inlet.reads >= READS_MOST : over) this.#round.shift();
      if (inlet.read_bytes >= load.bytes && !inlet.ended) this.#whole(inlet, load);
      this.#next();
    });
  }

  #whole(inlet: Inlet, load: Load): void {
    inlet.came.shift();
    inlet.came_bytes -= load.bytes;
    inlet.read_bytes = 0;
    const held_ms = load.read();
    inlet.onRead();
    if (held_ms <= 0) return;
    inlet.held = true;
    this.#cluster.at(held_ms, () => {
      inlet.held = false;
      this.#wake();
    });
  }
}
