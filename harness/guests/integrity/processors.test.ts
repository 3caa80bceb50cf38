import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { idleProcessors, PROCESSORS_MAX, standingStill } from "./processors.ts";
import { makeRamImage } from "./ram-image.ts";
import { decodeStatusPage, STATUS_ADDRESS, type StatusPage } from "./status-page.ts";

const BOOT = "ferryman-integrity boot version=2 seed=5 pages=31712 rate=1000 fill=2 boots=1";

function statusAfter(steps: readonly number[]): StatusPage {
  const ram = makeRamImage({ seed: 5, regions: steps.map(() => 2), steps, fill: "full" });
  return decodeStatusPage(ram.subarray(STATUS_ADDRESS, STATUS_ADDRESS + 4096));
}

describe("processors of the integrity guest", () => {
  it("are told of only where some of them do not work", () => {
    expect(idleProcessors(BOOT)).toBeUndefined();
    expect(idleProcessors(`${BOOT} cpus=4 of=4`)).toBeUndefined();
    expect(idleProcessors(`${BOOT} cpus=${PROCESSORS_MAX} of=12\r`)).toBe(
      "the integrity guest works on the first 8 of its 12 vCPUs: no guest has more workers",
    );
    expect(idleProcessors(`${BOOT} cpus=1 of=2`)).toBe(
      "the integrity guest works on the first 1 of its 2 vCPUs: the next one could not be started",
    );
  });

  it("stand still exactly where they did no step, whatever the others did", () => {
    const moved = fc.array(fc.record({ done: fc.nat(50), more: fc.nat(3) }), {
      minLength: 1,
      maxLength: PROCESSORS_MAX,
    });
    fc.assert(
      fc.property(moved, (cpus) => {
        const before = statusAfter(cpus.map(({ done }) => done));
        const after = statusAfter(cpus.map(({ done, more }) => done + more));
        expect(standingStill(before, after)).toEqual(cpus.flatMap(({ more }, cpu) => (more === 0 ? [cpu] : [])));
      }),
      { numRuns: 40 },
    );
  });

  it("have done nothing since, as far as one can tell, where the guest was reset", () => {
    const [before, after] = [statusAfter([7, 8]), statusAfter([9, 9])];
    expect(standingStill(before, { ...after, boot_id: before.boot_id + 1 })).toEqual([0, 1]);
  });
});
