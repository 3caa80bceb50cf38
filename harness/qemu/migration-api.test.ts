import { describe, expect, test } from "vitest";
import { isCompleting, MIGRATION_STATUSES, progressOf, type Side, stepOfStatus } from "./migration-api.ts";
import { parseVersionText, traits } from "./versions.ts";

/** Steps of a sequence of statuses as QEMU reported them. */
function stepsOf(side: Side, version: string, reported: readonly string[]): (string | undefined)[] {
  const known = traits(parseVersionText(`QEMU emulator version ${version}`));
  let previous = "none";
  return reported.map((name) => {
    const step = stepOfStatus(side, name, previous, known);
    previous = name;
    return step;
  });
}

describe("steps of the protocol", () => {
  test("7.2, target, as recorded: cut, recovered, completed", () => {
    const reported = ["setup", "active", "postcopy-active", "postcopy-paused", "setup", "postcopy-recover"];
    expect(stepsOf("target", "7.2.22", [...reported, "postcopy-active", "completed"])).toEqual([
      ...["setup", "precopy", "switchover", "postcopy-paused", "recovering", "recovering"],
      ...["target-running", "completed"],
    ]);
  });

  test("7.2, source, as recorded", () => {
    const reported = ["setup", "active", "postcopy-active", "postcopy-paused", "postcopy-recover", "postcopy-active"];
    expect(stepsOf("source", "7.2.22", [...reported, "completed"])).toEqual([
      ...["setup", "precopy", "switchover", "postcopy-paused", "recovering", "target-running", "completed"],
    ]);
  });

  test("11.1 has a state of its own until the target runs, and one before recovery", () => {
    const reported = ["setup", "active", "device", "postcopy-device", "postcopy-active", "postcopy-paused"];
    expect(stepsOf("source", "11.1.3", [...reported, "postcopy-recover-setup", "postcopy-recover"])).toEqual([
      ...["setup", "precopy", "switchover", "switchover", "target-running", "postcopy-paused"],
      ...["recovering", "recovering"],
    ]);
  });

  test("every status of 7.2 to 11.1 is mapped; words of the future map to nothing", () => {
    const without = MIGRATION_STATUSES.filter(
      (status) => stepOfStatus("source", status, "none", { hasPostcopyDeviceState: true }) === undefined,
    );
    expect(without).toEqual(["none", "colo"]);
    expect(stepOfStatus("source", "teleporting", "none", { hasPostcopyDeviceState: true })).toBeUndefined();
  });
});

describe("query-migrate", () => {
  const ram = {
    ...{ transferred: 100, remaining: 0, total: 8192, duplicate: 1, normal: 1, "normal-bytes": 4096, mbps: 1 },
    ...{ "postcopy-requests": 3, "dirty-pages-rate": 0, "dirty-sync-count": 1, "page-size": 4096 },
  };

  test("is told in the words of the timeline", () => {
    expect(progressOf({})).toBeUndefined();
    expect(progressOf({ status: "active", ram })).toEqual({
      ...{ transferred_bytes: 100, remaining_bytes: 0, total_bytes: 8192 },
      ...{ pages_sent: 2, pages_total: 2, pages_requested: 3 },
    });
  });

  test("a post-copy without pages left is completing", () => {
    expect(isCompleting({ status: "postcopy-active", ram })).toBe(true);
    expect(isCompleting({ status: "postcopy-active", ram: { ...ram, remaining: 4096 } })).toBe(false);
    expect(isCompleting({ status: "active", ram })).toBe(false);
    expect(isCompleting({})).toBe(false);
  });
});
