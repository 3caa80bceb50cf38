import { setTimeout as delay } from "node:timers/promises";
import { DYING_POINTS, type PagescanTracker } from "../txsync/dirty/tracker.ts";
import { Random } from "../txsync/sim/random.ts";

/** What comes between the takes of a drill, and into them: an agent that is killed takes its helper with it. */
export type Trouble =
  | { readonly kind: "none" }
  /** Killed while nothing was under way. */
  | { readonly kind: "killed-between" }
  /** Killed so many ms after a take was begun, with QEMU stopped or running again. */
  | { readonly kind: "killed-after"; readonly after_ms: number }
  /** Killed at a point of the helper's own work. */
  | { readonly kind: "killed-at"; readonly point: (typeof DYING_POINTS)[number] }
  /** It was whole, and was dropped. */
  | { readonly kind: "dropped" };

const LATEST_MS = 8;

export class Troubles {
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  next(): Trouble {
    const random = this.#random;
    if (random.chance(0.4)) return { kind: "none" };
    return random.pick<Trouble>([
      { kind: "killed-between" },
      { kind: "killed-after", after_ms: random.real() * LATEST_MS },
      { kind: "killed-at", point: random.pick(DYING_POINTS) },
      { kind: "dropped" },
    ]);
  }

  /** Everything that ever changed is asked for, as where the escrow's log is empty. */
  sinceBase(): boolean {
    return this.#random.chance(0.2);
  }
}

/** Sets going what is to happen during the next take. */
export async function prepare(trouble: Trouble, tracker: PagescanTracker): Promise<void> {
  if (trouble.kind === "killed-at") await tracker.dieAt(trouble.point);
  if (trouble.kind === "killed-after") {
    void delay(trouble.after_ms).then(() => tracker[Symbol.asyncDispose]());
  }
}
