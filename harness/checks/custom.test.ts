import { describe, expect, it } from "vitest";
import { type Check, runCheck } from "./check.ts";
import { clientHistory } from "./client-history.ts";
import { diskImages } from "./images.ts";
import { probes } from "./probes.ts";
import { got, makeCase } from "./testing/make-case.ts";

function judged(check: Check, name: string, can: string, value: object) {
  const guest = { kind: "custom", can: [can as "probes"] };
  return runCheck(check, makeCase({ evidence: { guest }, findings: { [name]: got(value) } }));
}

describe("the checks of a guest of which nothing is known", () => {
  it("name the probe that is silent", () => {
    const answers = { probe: "tcp=22", answered_ms: 5 };
    expect(judged(probes, "probes", "probes", [answers])).toMatchObject({ verdict: true });
    const silent = judged(probes, "probes", "probes", [answers, { probe: "http=80/", last: "503" }]);
    expect(silent).toMatchObject({ verdict: false, summary: expect.stringContaining("http=80/ does not answer") });
  });

  it("take a client's word for what it was told, and nothing for a proof where nothing was", () => {
    const found = { name: "sql", acknowledged: 5, unknown: 1, longest_ms: 900, whole: true, summary: "all is there" };
    expect(judged(clientHistory, "client", "client", found)).toMatchObject({ verdict: true });
    const lost = { ...found, whole: false, summary: "2 are not there" };
    expect(judged(clientHistory, "client", "client", lost)).toMatchObject({
      verdict: false,
      summary: "sql: 2 are not there",
    });
    expect(judged(clientHistory, "client", "client", { ...found, acknowledged: 0 })).toMatchObject({
      verdict: "unknown",
    });
  });

  it("name the file system that is not clean, and the image that is damaged", () => {
    const clean = { where: "partition 1", kind: "ext4" };
    const disk = { name: "disk0", filesystems: [clean] };
    expect(judged(diskImages, "images", "images", [disk])).toMatchObject({
      verdict: true,
      summary: "the disks are whole: disk0: ext4 partition 1 clean",
    });
    const dirty = { ...disk, filesystems: [{ ...clean, fsck: "Inode 12 has wrong size" }] };
    expect(judged(diskImages, "images", "images", [disk, { ...dirty, name: "disk1" }])).toMatchObject({
      verdict: false,
      summary: "disk1, partition 1: the ext4 is not clean: Inode 12 has wrong size",
    });
    expect(judged(diskImages, "images", "images", [{ ...disk, format: "2 errors" }])).toMatchObject({ verdict: false });
    expect(judged(diskImages, "images", "images", [{ ...disk, gone: ["partition 1"] }])).toMatchObject({
      verdict: "unknown",
      summary: "disk0, partition 1: the image came with an ext4, and there is none any more",
    });
  });

  it("have nothing to say of other guests", () => {
    for (const check of [probes, clientHistory, diskImages]) expect(runCheck(check, makeCase())).toBeUndefined();
  });
});
