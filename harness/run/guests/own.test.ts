import { describe, expect, it } from "vitest";
import type { TimelineEventBody } from "../../base/timeline.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import type { OwnGuestInRun } from "./guest.ts";
import { guestName, makeGuest } from "./index.ts";

const told: TimelineEventBody[] = [];
const settings = {
  seed: 7,
  memory_bytes: 64 * 1024 ** 2,
  accel: "tcg",
  emit: (_: unknown, body: TimelineEventBody) => void told.push(body),
} as const;
const vm = { host: { role: "target" } } as StartedVm;
const made = (more: Partial<OwnGuestInRun> = {}) => {
  const own = {
    kind: "mine",
    start: () => ({ files: FILES, booted: async () => undefined, steps: async () => 5, ...more }),
  };
  return makeGuest(own, settings);
};
const FILES = { kernel: { local: "/home/me/bzImage" }, initrd: "/in/the/image", append: "quiet" } as const;

describe("a guest of somebody else's", () => {
  it("can be asked for what it brings, and for nothing else", async () => {
    expect(made().can).toEqual([]);
    expect(await made().memory(vm)).toBeUndefined();
    const found = { pages_checked: 1, bad_count: 0, errors: 0, first: "none" };
    const checked = made({ selfCheck: async () => found });
    expect(checked.can).toEqual(["self-check"]);
    expect(await checked.selfCheck(vm)).toBe(found);
    expect(guestName({ kind: "mine", start: () => ({}) as OwnGuestInRun })).toBe("mine");
  });

  it("has its console on the timeline, and work for nobody unless it says so", async () => {
    made().onConsole("source", "hello");
    expect(told).toEqual([{ kind: "guest.log", host: "source", line: "hello" }]);
    await made().workload().warmedUp();
  });

  it("is put onto each host where it lies on this machine", async () => {
    const copied: string[] = [];
    const host = (role: string) => ({
      copyFile: async (from: string, to: string) => void copied.push(`${role} ${from} ${to}`),
    });
    const guest = made();
    await guest.put?.({ host } as unknown as StartedFleet);
    expect(copied).toEqual(
      ["source", "target", "escrow"].map((role) => `${role} /home/me/bzImage ${guest.files.kernel}`),
    );
    expect(guest.files).toMatchObject({ initrd: "/in/the/image", append: "quiet" });
  });
});
