import type { MovingOptions } from "../base/patience.ts";
import type { Emit } from "../base/timeline.ts";

/** How whoever looks at a guest waits for what takes longer the larger it is. */
export type Looking = Required<Pick<MovingOptions, "patience_ms" | "onWaiting">>;

/** How long nothing may move before a run is given up, where nobody says otherwise. */
export const DEFAULT_PATIENCE_MS = 20_000;

/** Says nothing to anybody. */
export const LOOKING: Looking = { patience_ms: DEFAULT_PATIENCE_MS, onWaiting: () => undefined };

/** Gives up once nothing has moved for so long, and says on the timeline now and then what it waits for. */
export function lookingWith(patience_ms: number, emit: Emit): Looking {
  return {
    patience_ms,
    onWaiting: (what, waiting) => emit("run", { kind: "run.waiting", what, ...waiting }),
  };
}
