import { describe, expect, it } from "vitest";
import type { Trigger } from "../scenario.ts";
import { DEFAULT_TXSYNC, goesAhead, settingsFor } from "./settings.ts";

describe("the settings of a run", () => {
  it("are the defaults, what the scenario needs over them, what was asked for over that", () => {
    const settings = settingsFor(2 ** 27, { lease_ms: 300, epoch_ms: 50 }, { lease_ms: 700 });
    expect(settings).toEqual({ ...DEFAULT_TXSYNC, lease_ms: 700, epoch_ms: 50 });
  });

  it("give a large guest the time that copying it ahead takes", () => {
    expect(settingsFor(2 ** 32).base_ahead_ms).toBe(128_000);
    expect(settingsFor(2 ** 32, { base_ahead_ms: 5 }).base_ahead_ms).toBe(5);
  });

  it("have memory go ahead where nothing is meant for post-copy, which is over in a moment then", () => {
    const at = (...triggers: readonly Trigger[]): { readonly at: Trigger }[] => triggers.map((at) => ({ at }));
    expect(goesAhead([], false)).toBe(true);
    expect(goesAhead(at({ on: "step", step: "precopy", after_ms: 500 }), false)).toBe(true);
    expect(goesAhead(at({ on: "step", step: "switchover" }), false)).toBe(false);
    expect(goesAhead(at({ on: "step", step: "precopy" }, { on: "fault", index: 0 }), false)).toBe(false);
    expect(goesAhead(at({ on: "pages", percent: 30 }), false)).toBe(false);
    // What is protected before is struck at its switchover, which is what it is for.
    expect(goesAhead(at({ on: "step", step: "switchover" }), true)).toBe(true);
    expect(goesAhead(at({ on: "pages", percent: 30 }), true)).toBe(false);
  });
});
