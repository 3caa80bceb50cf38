import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ensureEngine } from "../harness/fleet/engine.ts";
import { writeDebianDisk } from "../harness/fleet/images.ts";
import { type Ferryman, startFerryman } from "../harness/library/ferryman.ts";
import { noFault, sourceHostKilled, targetHostKilled } from "./examples/debian.scenario.ts";

/** A whole Debian that nobody made for this, from its own disk: its database has every transaction that it acknowledged. */

const folder = mkdtempSync(join(tmpdir(), "ferryman-debian-"));
const disk = join(folder, "debian.qcow2");
let ferryman: Ferryman;
let as_it_was: Buffer;

beforeAll(async () => {
  const say = (): void => undefined;
  await writeDebianDisk(await ensureEngine({ mayInstall: true, say }), disk, { say });
  as_it_was = readFileSync(disk);
  ferryman = await startFerryman({ runs: join(folder, "runs"), memory_mib: 512, accel: "tcg" });
}, 900_000);

afterAll(async () => {
  await ferryman[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

test.each([
  [noFault, "stock"],
  [noFault, "txsync"],
  [targetHostKilled, "stock"],
  [targetHostKilled, "txsync"],
  [sourceHostKilled, "txsync"],
] as const)(
  "$id under %s",
  async (scenario, recovery) => {
    const configuration = {
      images: [{ path: disk, format: "qcow2" }],
      // Its first run boots it, by its own loader; the others begin there.
      snapshot: join(folder, "booted"),
    } as const;
    const { record } = await ferryman.run(scenario, { recovery, configuration });
    expect([record.verdict, record.as_expected], record.why).toEqual([scenario.expect[recovery], true]);
    expect(readFileSync(disk).equals(as_it_was)).toBe(true);
  },
  600_000,
);
