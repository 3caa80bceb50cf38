import { expect, it } from "vitest";
import type { Check } from "../checks/check.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { gatherEvidence } from "./evidence.ts";
import type { Workload } from "./guests/guest.ts";
import type { RecoveryUnderTest, RunContext } from "./recovery.ts";

it("fails with the first thing that went wrong, and leaves no failure behind that nobody waits for", async () => {
  const broken: Check = {
    name: "broken",
    false_means: "untidy",
    needs: [
      {
        name: "broken",
        stage: "watched",
        of_vm: true,
        look: async () => 1,
        of: () => ({ state: "absent", why: "" }),
        written: () => {
          throw new Error("it cannot be written down");
        },
      },
    ],
    applies: () => true,
    judge: () => ({ verdict: true, summary: "" }),
  };
  let step = 0;
  const vm = { alive: true, running: true } as StartedVm;
  const context = {
    guest: { kind: "yours", can: [], still_after_ms: 0, steps: async () => step++ },
    vms: new Map([["target", vm]]),
    request: { scenario: { migration: {} }, checks: [broken] },
    timeline: { events: [], emit: () => undefined },
  } as unknown as RunContext;
  // Nobody but the owner is asked: a host that is cut off may still say that it protects a VM that was taken over.
  const recovery: Pick<RecoveryUnderTest, "unprotect"> = {
    unprotect: (owner) => Promise.reject(new Error(`that on ${owner} stays protected`)),
  };
  const settled = { owner: "target", how: "the migration completed" } as const;
  // vitest itself fails where a rejection is handled by nobody.
  await expect(gatherEvidence(context, recovery as RecoveryUnderTest, settled, {} as Workload)).rejects.toThrow(
    "that on target stays protected",
  );
});
