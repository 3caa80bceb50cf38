import { describe, expect, it } from "vitest";
import { runCheck } from "./check.ts";
import { type StorageAway, storageAway } from "./storage-away.ts";
import { at, makeCase, WELL_EVENTS } from "./testing/make-case.ts";
import { judge } from "./verdict.ts";

const STOPPED: StorageAway = { host: "target", stopped: true, waited_ms: 3_000, went_on: true };
const told = (action: string, lane: "source" | "target" = "target") =>
  at(2_900, lane, {
    kind: "qmp.event",
    event: "BLOCK_IO_ERROR",
    data: { device: "", "node-name": "disk0", operation: "write", reason: "Input/output error", action },
    pid: 2,
  });
const seen = (storage_away: StorageAway, ...events: ReturnType<typeof told>[]) => {
  const settled = WELL_EVENTS.at(-1);
  if (settled === undefined) throw new Error("it never settled");
  return makeCase({ events: [...WELL_EVENTS.slice(0, -1), ...events, settled], evidence: { storage_away } });
};

describe("a VM whose storage was away", () => {
  it("is whole where it stopped itself, said so, and went on", () => {
    const made = seen(STOPPED, told("stop"));
    expect(runCheck(storageAway, made)).toMatchObject({
      verdict: true,
      summary:
        "the guest on target stopped itself with an I/O error that QEMU told (write of disk0: Input/output error), and went on with its storage back",
    });
    expect(judge(made.scenario, made.events, made.evidence).verdict).toBe("intact");
  });

  it("is whole where it waited, and went on", () => {
    expect(runCheck(storageAway, seen({ ...STOPPED, stopped: false }))).toMatchObject({
      verdict: true,
      summary: expect.stringContaining("waited for its storage (3000 ms were seen of it)"),
    });
  });

  it("is lost where it does not go on", () => {
    const made = seen({ ...STOPPED, went_on: false, why: "waited in vain" }, told("stop"));
    expect(judge(made.scenario, made.events, made.evidence)).toMatchObject({
      verdict: "lost",
      why: expect.stringContaining("did not go on with its storage back: waited in vain"),
    });
  });

  it("proves nothing where nobody was told why it stopped: by another host, or of what does not stop it", () => {
    for (const event of [[], [told("stop", "source")], [told("report")]])
      expect(runCheck(storageAway, seen(STOPPED, ...event))?.verdict).toBe("unknown");
  });

  it("is not asked for where no link was broken", () => {
    expect(runCheck(storageAway, makeCase())).toBeUndefined();
  });
});
