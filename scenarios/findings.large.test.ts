import { afterAll, describe, expect, test } from "vitest";
import { isLibvirt } from "../harness/base/configuration.ts";
import type { Recovery } from "../harness/base/run-record.ts";
import { QEMU_NAMES } from "../harness/fleet/images.ts";
import { managerOf } from "../harness/run/configure.ts";
import { notFor } from "../harness/run/expectation.ts";
import { prepareRuns } from "../harness/run/prepare.ts";
import { FINDINGS } from "./findings/index.ts";
import { play, request, wrong } from "./testing.ts";

const ended = new AbortController();
afterAll(() => ended.abort());

/** What stock QEMU and libvirt do wrong, with each version that can be had with it, and under txsync where that says something. */
describe.each<readonly [Recovery, string]>([...QEMU_NAMES.map((qemu) => ["stock", qemu] as const), ["txsync", "10.0"]])(
  "findings under %s, QEMU %s",
  (recovery, qemu) => {
    const able = FINDINGS.filter((one) => one.expect[recovery] !== undefined && notFor(one, qemu) === undefined);
    test.for(able)("$id", async ({ id, configuration, guests }) => {
      const asked = request(id, { recovery, ...(guests.includes("integrity") ? {} : { guest: "linux" }) });
      const { target_qemu = qemu } = configuration ?? {};
      const libvirt = isLibvirt(managerOf(asked));
      const environment = await prepareRuns(qemu, ended.signal, { target_qemu, libvirt });
      expect(wrong(await play(environment, [asked], 1))).toEqual([]);
    });
  },
);
