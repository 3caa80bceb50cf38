import { describe, expect, test } from "vitest";
import { UserError } from "../base/errors.ts";
import {
  chooseAccel,
  judgeLinuxProbe,
  judgeProbe,
  kvmProbeArgv,
  linuxProbeArgv,
  PROBE_EXIT_CODE,
  PROBE_IMAGE_BYTES,
  probeImage,
} from "./accel.ts";

const runs = async () => ({ ran: true, why: "a guest ran under KVM" });
const runsNot = async () => ({ ran: false, why: "no /dev/kvm" });
const neverAsked = async () => {
  throw new Error("the probe was run for nothing");
};

describe("the accelerator", () => {
  test("tcg needs no probe", async () => {
    expect(await chooseAccel("tcg", neverAsked)).toEqual({ accel: "tcg", why: "asked for" });
  });

  test("auto takes KVM where a guest runs, else TCG, and says why", async () => {
    expect(await chooseAccel("auto", runs)).toEqual({ accel: "kvm", why: "a guest ran under KVM" });
    expect(await chooseAccel("auto", runsNot)).toEqual({ accel: "tcg", why: expect.stringMatching(/no \/dev\/kvm/) });
  });

  test("kvm where no guest runs is the user's error", async () => {
    await expect(chooseAccel("kvm", runsNot)).rejects.toThrow(UserError);
    await expect(chooseAccel("kvm", runsNot)).rejects.toThrow(/no \/dev\/kvm/);
  });

  test("a probe that fails is a KVM that does not run", async () => {
    expect(await chooseAccel("auto", neverAsked)).toMatchObject({
      accel: "tcg",
      why: expect.stringMatching(/for nothing/),
    });
  });
});

describe("the probe", () => {
  test("only the whole output and the guest's own exit code count as run", () => {
    expect(judgeProbe("16 32 AAAAIAIA\n", PROBE_EXIT_CODE)).toMatchObject({ ran: true });
    expect(judgeProbe("qemu-system-x86_64: warning: pni\n16 32 AAAAIAIA\n", PROBE_EXIT_CODE).ran).toBe(true);
    expect(judgeProbe("16 32 AAAAIAIA\n", 0).ran).toBe(false);
    expect(judgeProbe("", PROBE_EXIT_CODE).ran).toBe(false);
  });

  test.each([
    ["", null, /no instruction and was killed/],
    ["", 0, /no instruction and QEMU ended with code 0/],
    ["16 ", null, /16-bit code and no 32-bit code/],
    ["16 32 AAAAIAIB\n", PROBE_EXIT_CODE, /computed wrongly/],
    ["qemu-system-x86_64: -accel kvm: failed to initialize kvm: No such file\n", 1, /^QEMU says: .*No such file/],
  ])("%j with exit code %s is told apart", (output, exitCode, why) => {
    expect(judgeProbe(output, exitCode)).toEqual({ ran: false, why: expect.stringMatching(why) });
  });

  test("the image's tables stand where its code looks for them, and reset leads to its beginning", () => {
    const image = Buffer.from(probeImage());
    expect(image).toHaveLength(PROBE_IMAGE_BYTES);
    const gdtr = image.readUInt16LE(0x13);
    const gdt = image.readUInt32LE(gdtr + 2) - 0xf0000;
    expect(image.readUInt16LE(gdtr)).toBe(23);
    expect(image.subarray(gdt, gdt + 8).every((byte) => byte === 0)).toBe(true);
    expect([image[gdt + 13], image[gdt + 21]]).toEqual([0x9b, 0x93]);
    expect(image.subarray(0xfff0, 0xfff5).toString("hex")).toBe("ea000000f0");
  });

  test("runs under KVM without a display, a network or a reboot", () => {
    const argv = kvmProbeArgv("/tmp/probe");
    expect(argv.join(" ")).toMatch(/-accel kvm .*-no-reboot -bios \/tmp\/probe/);
  });
});

describe("the probe of a Linux", () => {
  const up = /LINUX boot /;
  const linux = { kernel: "k", initrd: "i", append: "quiet a=b", up };

  test("has come up only where its console says so", () => {
    expect(judgeLinuxProbe("[ 0.1] Linux version\n[ 1.0] LINUX boot format=1\n", "", { up }).ran).toBe(true);
    const nothing = judgeLinuxProbe("", "qemu-system-x86_64: warning: pni\n", { up });
    expect(nothing).toEqual({ ran: false, why: "a Linux kernel says nothing under KVM" });
    expect(judgeLinuxProbe("", "qemu-system-x86_64: KVM internal error\n", { up }).why).toMatch(/KVM internal error/);
    expect(judgeLinuxProbe("[ 0.1] Linux version\n", "", { up }).why).toMatch(/no further than: \[ 0.1\] Linux/);
  });

  test("boots what it is given, under KVM unless it is told otherwise", () => {
    const argv = linuxProbeArgv(linux);
    expect(argv[argv.indexOf("-append") + 1]).toBe("quiet a=b");
    expect([argv, linuxProbeArgv(linux, "tcg")].map((words) => words[words.indexOf("-accel") + 1])).toEqual([
      "kvm",
      "tcg",
    ]);
  });
});
