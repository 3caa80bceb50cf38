import { describe, expect, it } from "vitest";
import { DEFAULT_TXSYNC, settingsFor } from "./settings.ts";

describe("the settings of a run", () => {
  it("are the defaults, what the scenario needs over them, what was asked for over that", () => {
    const settings = settingsFor(2 ** 27, { lease_ms: 300, epoch_ms: 50 }, { lease_ms: 700 });
    expect(settings).toEqual({ ...DEFAULT_TXSYNC, lease_ms: 700, epoch_ms: 50 });
  });

  it("give a large guest the time that copying it ahead takes", () => {
    expect(settingsFor(2 ** 32).base_ahead_ms).toBe(128_000);
    expect(settingsFor(2 ** 32, { base_ahead_ms: 5 }).base_ahead_ms).toBe(5);
  });
});
