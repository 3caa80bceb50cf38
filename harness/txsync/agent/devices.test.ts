import { describe, expect, it } from "vitest";
import { type AgentState, initialState } from "../core/index.ts";
import { coreConfig } from "./config.ts";
import { InboundKeeper } from "./devices.ts";
import { configOf } from "./testing/stage.ts";

describe("what came in by the network card", () => {
  it("is kept since the transaction before the last one that this agent knows of, by whomever it was told", () => {
    const settled: number[] = [];
    let [now_ms, given] = [10_000, 0];
    let state: AgentState = initialState(coreConfig(configOf("source", "/nowhere")));
    const keeper = new InboundKeeper(
      { state: () => state },
      {
        settled: (before_ms) => void settled.push(before_ms),
        give: () => {
          given += 1;
        },
      },
      () => now_ms,
    );
    const step = (at_ms: number, changes: Partial<AgentState>): void => {
      now_ms = at_ms;
      state = { ...state, ...changes };
      keeper.afterStep();
    };
    // Before there is any transaction: for a moment.
    step(10_000, {});
    expect(settled.at(-1)).toBe(9_700);
    const { tx } = state;
    step(11_000, { tx: { ...tx, committed: 1 } });
    step(11_050, {});
    step(12_000, { tx: { ...tx, committed: 2 } });
    expect(settled.at(-1)).toBe(10_000);
    step(13_000, { tx: { ...tx, committed: 3 } });
    expect(settled.at(-1)).toBe(11_000);
    // Nobody tells of more: nothing of what comes from now on is let go of.
    step(20_000, {});
    expect(settled.at(-1)).toBe(11_000);
    expect(given).toBe(6);
  });
});
