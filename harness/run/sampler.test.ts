import { expect, it } from "vitest";
import type { Emit } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import type { StartedVm } from "../fleet/vm.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import { ProgressSampler } from "./sampler.ts";
import type { Timeline } from "./timeline.ts";

it("the sampler notes every step that it sees the guest take, on each host that has an instance, and nothing twice", async () => {
  const seen: Record<string, number[]> = { source: [], target: [] };
  const emit: Emit = (lane, event) => {
    if (event.kind === "guest.progress") seen[lane]?.push(event.step);
  };
  const timeline = { emit } as unknown as Timeline;
  // Each look at the source finds the guest one step further; the target's stands, and cannot always be read.
  const steps = { source: 0, target: 0 };
  const vm = (role: "source" | "target"): StartedVm =>
    ({ alive: true, running: true, host: { up: true, role } }) as unknown as StartedVm;
  const guest = {
    steps: async ({ host: { role } }: StartedVm): Promise<number> => {
      const host = role === "target" ? "target" : "source";
      steps[host] += 1;
      if (host === "source") return steps.source;
      if (steps.target % 2 === 0) throw new Error("nobody reads it now");
      return 7;
    },
  } as unknown as GuestUnderTest;
  const vms = new Map([
    ["source", vm("source")],
    ["target", vm("target")],
  ] as const);
  {
    await using _ = new ProgressSampler(guest, vms, timeline);
    await waitFor({ what: "some looks", timeout_ms: 30_000, interval_ms: 10 }, () => steps.source >= 4 || undefined);
  }
  expect(seen["source"]).toEqual(Array.from({ length: steps.source }, (_, i) => i + 1));
  expect(seen["target"]).toEqual([7]);
});
