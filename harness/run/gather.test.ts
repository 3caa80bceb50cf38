import { describe, expect, it } from "vitest";
import { judge } from "../checks/verdict.ts";
import { evidenceWithoutVm, stillArriving } from "./gather.ts";
import type { GuestUnderTest } from "./guests/guest.ts";

const guest = { kind: "integrity" } as GuestUnderTest;

describe("a VM that still lacks pages", () => {
  const arriving = { arrived: 1_200, total: 262_144 };
  const moves = { host: "target", before: 7, after: 9, watched_ms: 50 } as const;

  it("is not judged by its memory: nobody knows", () => {
    const settled = {
      owner: "none",
      how: "waited for the target to have every page: nothing has moved",
      arriving,
    } as const;
    const evidence = evidenceWithoutVm(guest, settled, [moves], false);
    const judged = judge(evidence);
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toBe(`memory-model: not looked at: ${stillArriving(arriving)}`);
    expect(judged.why).toContain("still arriving: 1200 of 262144 pages");
  });

  it("is lost where it stands still for want of them", () => {
    const settled = { owner: "none", how: "nothing has moved", arriving } as const;
    const evidence = evidenceWithoutVm(guest, settled, [{ ...moves, after: 7 }], false);
    expect(judge(evidence).verdict).toBe("lost");
  });
});
