import { describe, expect, it } from "vitest";
import { runCheck } from "./check.ts";
import { diskHistory } from "./disk-history.ts";
import { got, makeCase } from "./testing/make-case.ts";

const RAW = { kind: "raw", told: 400, wrong: 0 } as const;
const EXT4 = { kind: "ext4", told: 100, wrong: 0 } as const;

function judge(disks: readonly object[], errors = 0) {
  const guest = { kind: "linux", can: ["self-check", "disks"] } as const;
  return runCheck(diskHistory, makeCase({ evidence: { guest }, findings: { disks: got({ disks, errors }) } }));
}

describe("disk-history", () => {
  it("has nothing to say of a guest without disks", () => {
    expect(runCheck(diskHistory, makeCase())).toBeUndefined();
  });

  it("takes room that nobody uses for no damage, and says so", () => {
    const qcow2 = { ...RAW, format: "qcow2" };
    expect(judge([qcow2])?.summary).toContain("400 on raw in a qcow2 that is clean");
    expect(judge([{ ...qcow2, leaks: "3 leaked clusters" }])).toMatchObject({ verdict: true });
    expect(judge([{ ...qcow2, leaks: "3 leaked clusters" }])?.summary).toContain("in a qcow2 that leaks");
  });

  it("is true where all records are there, and proves nothing where none was written", () => {
    expect(judge([RAW, EXT4])).toMatchObject({ verdict: true });
    expect(judge([RAW, { ...EXT4, told: 0 }])).toMatchObject({ verdict: "unknown" });
  });

  it("names what is wrong: the record, the file system, or what the guest saw itself", () => {
    const first = { place: "slot 5", expected: 261, found: 5, kind: "older" };
    const older = judge([EXT4, { ...RAW, wrong: 1, first }]);
    expect(older).toMatchObject({ verdict: false });
    expect(older?.summary).toContain(
      "disk 1 (raw) has 1 wrong records: at slot 5 has to be record 261, and there is 5",
    );
    expect(older?.summary).toContain("an older one");
    const future = judge([{ ...RAW, wrong: 2, first: { ...first, found: 517, kind: "future" } }]);
    expect(future?.summary).toContain("one from the future");
    expect(judge([RAW, { ...EXT4, fsck: "inode 12 has wrong i_blocks" }])).toMatchObject({ verdict: false });
    expect(judge([RAW, EXT4], 1)).toMatchObject({ verdict: false });
    const damaged = judge([RAW, { ...EXT4, format: "qcow2", damaged: "1 errors were found on the image." }]);
    expect(damaged).toMatchObject({ verdict: false });
    expect(damaged?.summary).toContain("disk 1 (ext4 in qcow2): the image is damaged: 1 errors");
  });
});
