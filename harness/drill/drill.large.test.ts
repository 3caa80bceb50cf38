import { describe, test } from "vitest";
import { DEFAULT_QEMU, QEMU_NAMES } from "../fleet/images.ts";
import { DrillHost } from "./drill-host.ts";
import { KILLED_AT_ANY_MOMENT, killedAtAnyMoment } from "./testing/whole.ts";

/** The longest of the drills, on the QEMUs on which drill.real.test.ts does not have it. */
describe.each(QEMU_NAMES.filter((qemu) => qemu !== DEFAULT_QEMU))("transactions on QEMU %s", (qemu) => {
  test.each(["auto", "sure"] as const)(KILLED_AT_ANY_MOMENT, async (prefer) => {
    await using host = await DrillHost.start(qemu);
    await killedAtAnyMoment(host, prefer, (await host.kernelTracks()) ? "quick" : "sure");
  });
});
