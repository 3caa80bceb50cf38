import { afterAll, expect, test } from "vitest";
import { probeLinux } from "../fleet/probe.ts";
import { LINUX_PROBE } from "./guests/linux-probe.ts";
import { prepareRuns } from "./prepare.ts";

const ended = new AbortController();
afterAll(() => ended.abort());

test("a Linux that comes up is known by its console, and one that does not by what it says last", async () => {
  const { docker, host_image } = await prepareRuns("10.0", ended.signal);
  expect(await probeLinux(docker, host_image, LINUX_PROBE, "tcg")).toMatchObject({ ran: true });
  const without_init = { ...LINUX_PROBE, append: `${LINUX_PROBE.append} rdinit=/nowhere panic=-1` };
  const { ran, why } = await probeLinux(docker, host_image, without_init, "tcg");
  expect([ran, why]).toEqual([false, expect.stringMatching(/came no further than: .+/)]);
});
