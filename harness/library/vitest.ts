import { expect } from "vitest";
import type { Verdict } from "../base/timeline.ts";
import { MATCHERS } from "./matchers.ts";

/** `import "ferryman/vitest"` teaches vitest's `expect` these; a failure says why, with evidence and the report's path. */
interface FerrymanMatchers<R> {
  /** Every check of the run holds: one VM runs, and it is the one that left. */
  toBeIntact(): R;
  /** The run came to that verdict. */
  toBeVerdict(verdict: Verdict): R;
  /** The run came out as its scenario says it ought to, limits and all. */
  toBeAsExpected(): R;
  /** Every fault of the scenario struck, and was healed where it was to be. */
  toHaveStruck(): R;
}

declare module "vitest" {
  interface Matchers<R extends void | Promise<void> = void | Promise<void>, T = unknown> extends FerrymanMatchers<R> {}
}

expect.extend(MATCHERS);
