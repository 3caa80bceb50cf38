import type { Fingerprint } from "./fingerprint.ts";

const NOBODY = 0xffff_ffff;

/**
 * What was reached, by its fingerprint, and how: from which one and by its how manieth move. 17 bytes and a half-empty
 * table of 4-byte places for each: a million take some 30 MB.
 */
export class Known {
  #low = new Uint32Array(1 << 12);
  #high = new Uint32Array(1 << 12);
  #parent = new Uint32Array(1 << 12);
  #move = new Int32Array(1 << 12);
  /** One more than the number of what is there. */
  #places = new Uint32Array(1 << 13);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Its number, when it is new; else the complement of the number that it has. */
  add({ low, high }: Fingerprint, parent: number | null, move: number): number {
    if (this.#size === this.#low.length) this.#grow();
    const mask = this.#places.length - 1;
    for (let place = low & mask; ; place = (place + 1) & mask) {
      const there = this.#places[place] ?? 0;
      if (there === 0) {
        const id = this.#size;
        this.#places[place] = id + 1;
        this.#low[id] = low;
        this.#high[id] = high;
        this.#parent[id] = parent ?? NOBODY;
        this.#move[id] = move;
        this.#size += 1;
        return id;
      }
      if (this.#low[there - 1] === low && this.#high[there - 1] === high) return ~(there - 1);
    }
  }

  /** The moves that led there, from the beginning on. */
  wayTo(id: number): readonly number[] {
    const moves: number[] = [];
    for (let at = id; at !== NOBODY; at = this.#parent[at] ?? NOBODY) moves.push(this.#move[at] ?? 0);
    return moves.reverse();
  }

  #grow(): void {
    const twice = <T extends Uint32Array | Int32Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const length = 2 * this.#low.length;
    this.#low = twice(this.#low, new Uint32Array(length));
    this.#high = twice(this.#high, new Uint32Array(length));
    this.#parent = twice(this.#parent, new Uint32Array(length));
    this.#move = twice(this.#move, new Int32Array(length));
    this.#places = new Uint32Array(2 * length);
    const mask = this.#places.length - 1;
    for (let id = 0; id < this.#size; id += 1) {
      let place = (this.#low[id] ?? 0) & mask;
      while (this.#places[place] !== 0) place = (place + 1) & mask;
      this.#places[place] = id + 1;
    }
  }
}
