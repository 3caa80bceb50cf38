import { describe, expect, it } from "vitest";
import type { TimelineEvent } from "../base/timeline.ts";
import { firmware } from "./firmware.ts";
import { got, makeCase } from "./testing/make-case.ts";

const BIOS = { name: "pc.bios", bytes: 262_144, sha256: "aa" };
const TABLES = { name: "/rom@etc/acpi/tables", bytes: 131_072, sha256: "bb" };
const restored = { t_ms: 5, lane: "source", kind: "restore.running", generation: 2 } as unknown as TimelineEvent;
const withBlocks = (blocks: readonly object[], before: readonly object[] = [BIOS, TABLES]) =>
  makeCase({
    events: [restored],
    evidence: { gated: true },
    findings: { firmware: got({ before: [...before], after: [...blocks] } as never) },
  });

describe("firmware", () => {
  it("is judged of a VM that was restored, where somebody looked at it before", () => {
    expect(firmware.applies(withBlocks([BIOS, TABLES]))).toBe(true);
    expect(firmware.applies({ ...withBlocks([BIOS, TABLES]), events: [] })).toBe(false);
    expect(firmware.applies(makeCase({ events: [restored], evidence: { gated: true } }))).toBe(false);
    expect(firmware.applies(makeCase({ events: [restored], evidence: { gated: false } }))).toBe(false);
  });

  it("holds where every block is the one that left, in any order", () => {
    expect(firmware.judge(withBlocks([TABLES, BIOS]))).toMatchObject({ verdict: true });
    expect(firmware.judge(withBlocks([], [])).verdict).toBe("unknown");
  });

  it.each([
    ["another content", [BIOS, { ...TABLES, sha256: "cc" }]],
    ["another length", [BIOS, { ...TABLES, bytes: 4_096 }]],
    ["a block that is not there", [BIOS]],
  ])("names the block that has %s", (_, blocks) => {
    const judged = firmware.judge(withBlocks(blocks));
    expect(judged).toMatchObject({
      verdict: false,
      summary: "1 of 2 blocks of firmware are not those of the VM that left: /rom@etc/acpi/tables",
    });
    expect(firmware.false_means).toBe("corrupt");
  });
});
