import type { JsonValue } from "../../base/timeline.ts";
import type { Reach } from "../net/reach.ts";

/** One operation of a client's; times are ms since the client began. */
export interface Operation {
  /** Counts from 1. */
  readonly n: number;
  readonly invoked_ms: number;
  readonly ended_ms: number;
  /** `unknown`: whether it was done nobody knows. */
  readonly outcome: "acknowledged" | "unknown";
  /** What `invoke` gave back. */
  readonly value?: JsonValue;
  /** Why nobody knows. */
  readonly why?: string;
}

/** What a client makes of the VM that has arrived. */
export interface ClientFound {
  /** Whether the VM has all that it acknowledged, and nothing that was never asked for. */
  readonly whole: boolean;
  /** One sentence. */
  readonly summary: string;
}

/** What a client of the user's does in one run. */
export interface HistoryClientInRun {
  /**
   * Does operation n, one after the other, and resolves when the VM has acknowledged it; rejects where that is not known.
   * The next one begins by itself.
   */
  invoke(n: number): Promise<JsonValue | undefined>;
  /** Asked once, when all operations are over, of the VM that has arrived. Rejects where it cannot be looked at. */
  check(history: readonly Operation[]): Promise<ClientFound>;
  /** Lets go of its connections. */
  close?(): void;
}

/** A client of the user's, with a history: an object in a scenario. */
export interface HistoryClient {
  readonly name: string;
  /** Called once for each run. Operations begin at once: until the VM has booted they fail. */
  start(vm: Reach, settings: { readonly seed: number }): HistoryClientInRun;
}
