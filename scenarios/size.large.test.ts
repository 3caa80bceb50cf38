import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { messageOf } from "../harness/base/errors.ts";
import { checkMemory, prepareRuns } from "../harness/run/prepare.ts";
import type { RunEnvironment } from "../harness/run/request.ts";
import { playWithAgents, request, wrong } from "./testing.ts";

/** Guests that are too large, and take too long, for every `npm test`: `npm run test:large`. */
const ended = new AbortController();
afterAll(() => ended.abort());

const MIB = 1024 ** 2;

describe.each([
  { memory_mib: 4096, scenarios: ["no-fault", "source-host-killed", "target-host-killed", "target-qemu-killed"] },
  { memory_mib: 4096, scenarios: ["link-cut-for-good", "escrow-killed", "target-cut-off-long-then-healed"] },
  { memory_mib: 1024, scenarios: ["source-host-killed", "escrow-link-blinks", "generation-changes-during-take"] },
  { memory_mib: 8192, scenarios: ["target-host-killed"] },
])("with a guest of $memory_mib MiB", ({ memory_mib, scenarios }) => {
  let environment: RunEnvironment;
  beforeAll(async () => {
    environment = await prepareRuns("10.0", ended.signal);
  });

  test.for(scenarios)("%s comes out as it says", async (id, context) => {
    try {
      checkMemory(memory_mib * MIB, 1);
    } catch (error) {
      context.skip(messageOf(error));
    }
    const asked = request(id, { recovery: "txsync", memory_mib });
    expect(wrong(await playWithAgents(environment, [asked]))).toEqual([]);
  });
});
