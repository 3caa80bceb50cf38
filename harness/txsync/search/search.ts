import { Violation } from "../sim/oracle.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { Known } from "./known.ts";
import { after, begin, isFault, type Move, ordinary, others } from "./moves.ts";
import type { Setup, World } from "./world.ts";

/** So many moves from the beginning are not needed to come to rest: who is still at it then never does. */
const STEPS_MAX = 1_500;

export interface Bounds {
  /** So many moves may be out of order: a fault, a message that overtakes or is late, a timer that is early, an early end. */
  readonly depth: number;
  /** So many of them may be faults. */
  readonly faults: number;
  readonly states_max: number;
  readonly until_ms?: number;
  /** Nothing is out of order but faults: what is broken stays so until all has come to rest. */
  readonly only_faults?: boolean;
  /**
   * Of the moves at the last depth every so manieth is made, from this one on: as many searches as there are parts make all
   * of them, each with a table of its own, so some states are counted in more than one.
   */
  readonly part?: { readonly number: number; readonly of: number };
}

export interface Counterexample {
  readonly setup: Setup;
  readonly what: string;
  readonly moves: readonly Move[];
  /** How many of them are out of order. */
  readonly depth: number;
}

export interface Found {
  readonly setup: string;
  readonly states: number;
  /** Moves that were made, to states that were new and to those that were not. */
  readonly moves: number;
  /** Moves of the longest way. */
  readonly steps: number;
  /** Ways that came to an end at which it was judged whether the VM runs. */
  readonly ends: number;
  /** All ways with so many moves out of order were gone. */
  readonly complete: number;
  /** What ended the search when it was not complete. */
  readonly stopped: "states" | "time" | null;
  readonly counterexample: Counterexample | null;
  /** New states by the moves out of order that they took. */
  readonly byDepth: readonly number[];
}

/** A state from which ways go on that are not ordinary, when their turn comes. */
interface Root {
  readonly world: World;
  readonly id: number;
  readonly steps: number;
}

class Broken extends Error {
  readonly way: readonly number[];

  constructor(what: string, way: readonly number[]) {
    super(what);
    this.way = way;
  }
}

/**
 * Goes every way that the three agents can take, with the core that ships, from those in which nothing is out of order to
 * those with one such move, with two, and so on; after each move the invariants are looked at, and every way is followed
 * to a fair end, at which the VM must run where it can. A state that was reached before is not gone on from.
 */
export class Search {
  readonly #setup: Setup;
  readonly #bounds: Bounds;
  readonly #known = new Known();
  #moves = 0;
  #steps = 0;
  #ends = 0;
  #stopped: Found["stopped"] = null;
  readonly #byDepth: number[] = [];

  constructor(setup: Setup, bounds: Bounds) {
    this.#setup = setup;
    this.#bounds = bounds;
  }

  run(): Found {
    let complete = -1;
    let counterexample: Counterexample | null = null;
    let depth = 0;
    try {
      let roots = this.#level0();
      complete = 0;
      while (depth < this.#bounds.depth && roots.length > 0 && this.#stopped === null) {
        depth += 1;
        roots = this.#level(roots, depth);
        if (this.#stopped === null) complete = depth;
      }
    } catch (thrown) {
      if (!(thrown instanceof Broken)) throw thrown;
      counterexample = { setup: this.#setup, what: thrown.message, moves: this.#movesOf(thrown.way), depth };
    }
    return {
      setup: this.#setup.name,
      states: this.#known.size,
      moves: this.#moves,
      steps: this.#steps,
      ends: this.#ends,
      complete,
      stopped: this.#stopped,
      counterexample,
      byDepth: this.#byDepth,
    };
  }

  #level0(): Root[] {
    const kept: Root[] = [];
    const world = begin(this.#setup);
    const id = this.#known.add(fingerprintOf(world), null, -1);
    this.#byDepth.push(1);
    this.#follow({ world, id, steps: 0 }, kept, 0);
    return kept;
  }

  #level(roots: readonly Root[], depth: number): Root[] {
    const kept: Root[] = [];
    this.#byDepth.push(0);
    const last = depth === this.#bounds.depth;
    const stride = strideOf(roots.length);
    const { number, of } = this.#bounds.part ?? { number: 0, of: 1 };
    // Far from each other first: what one move does at one step is often what it does at the next. Each round takes another
    // move from each state, so that whoever stops early has seen some of everything.
    for (let round = 0, left = true; left; round += 1) {
      left = false;
      for (let i = 0; i < roots.length; i += 1) {
        const root = roots[(i * stride) % roots.length];
        if (root === undefined) continue;
        const moves = movesFrom(root.world, this.#bounds);
        if (round >= moves.length) continue;
        left = true;
        if (last && i % of !== number) continue;
        if (this.#isOver()) return kept;
        const k = (round + i) % moves.length;
        const next = this.#make(root, moves[k] as Move, k + 1, depth);
        if (next !== null) this.#follow(next, last ? null : kept, depth);
      }
    }
    return kept;
  }

  /** The ordinary way from here, until it comes to where somebody was, or to its end. */
  #follow(from: Root, kept: Root[] | null, depth: number): void {
    const first = this.#known.size - 1;
    for (let at: Root = from; ; ) {
      kept?.push(at);
      if (at.steps > STEPS_MAX)
        throw new Broken("invariant 4: the agents never come to rest", this.#known.wayTo(at.id));
      const move = ordinary(at.world);
      if (move === null) {
        this.#ends += 1;
        return;
      }
      const next = this.#make(at, move, 0, depth, first);
      if (next === null) return;
      at = next;
    }
  }

  /** `null` where the move leads to what is known. A way that comes round to itself has come to rest. */
  #make(from: Root, move: Move, k: number, depth: number, first = Number.POSITIVE_INFINITY): Root | null {
    const world = this.#after(from, move, k);
    const steps = from.steps + 1;
    this.#moves += 1;
    const id = this.#known.add(fingerprintOf(world), from.id, k);
    if (id >= 0) {
      this.#steps = Math.max(this.#steps, steps);
      this.#byDepth[depth] = (this.#byDepth[depth] ?? 0) + 1;
      return { world, id, steps };
    }
    if (~id < first) return null;
    return this.#make(from, { move: "rest" }, REST, depth);
  }

  #after(from: Root, move: Move, k: number): World {
    try {
      return after(from.world, move);
    } catch (thrown) {
      if (!isRuleBroken(thrown)) throw thrown;
      throw new Broken(thrown.message, [...this.#known.wayTo(from.id), k]);
    }
  }

  #isOver(): boolean {
    if (this.#known.size >= this.#bounds.states_max) this.#stopped = "states";
    else if ((this.#moves & 255) === 0 && performance.now() > (this.#bounds.until_ms ?? Number.POSITIVE_INFINITY))
      this.#stopped = "time";
    return this.#stopped !== null;
  }

  #movesOf(way: readonly number[]): Move[] {
    const moves: Move[] = [];
    let world = begin(this.#setup);
    for (const [i, k] of way.slice(1).entries()) {
      const move = moveOf(world, k, this.#bounds);
      moves.push(move);
      if (i < way.length - 2) world = after(world, move);
    }
    return moves;
  }
}

const REST = -2;

/** All that may be done out of order there, in an order that is always the same. */
function movesFrom(world: World, { faults, only_faults = false }: Bounds): readonly Move[] {
  const moves = others(world, world.faults < faults);
  return only_faults ? moves.filter(isFault) : moves;
}

function moveOf(world: World, k: number, bounds: Bounds): Move {
  if (k === REST) return { move: "rest" };
  const move = k === 0 ? ordinary(world) : movesFrom(world, bounds)[k - 1];
  if (move === null || move === undefined) throw new Error("the way does not lead there again");
  return move;
}

export function isRuleBroken(thrown: unknown): thrown is Error {
  return thrown instanceof Violation || (thrown instanceof Error && thrown.name === "InvariantError");
}

/** A step through a list that comes by all of it, and does not begin where it began before. */
function strideOf(length: number): number {
  let stride = Math.max(1, Math.floor(length * 0.618));
  while (gcd(stride, length) !== 1) stride += 1;
  return stride;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
