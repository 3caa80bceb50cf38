import { describe, expect, test } from "vitest";
import { UserError } from "../base/errors.ts";
import { parseVersionText, traits, versionOfGreeting } from "./versions.ts";

describe("QEMU's version", () => {
  test.each([
    ["QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)\n", 7, 2, 22],
    ["QEMU emulator version 11.1.3\r\n", 11, 1, 3],
    ["warning: something\nQEMU emulator version 10.0.50 (v10.0.0-123-gabc)", 10, 0, 50],
  ])("is read from %j", (text, major, minor, micro) => {
    expect(parseVersionText(text)).toMatchObject({ major, minor, micro });
  });

  test.each(["", "sh: qemu: not found", "qemu-img version 7.2.0"])("is not seen in %j", (text) => {
    expect(() => parseVersionText(text)).toThrow(UserError);
  });

  test("is read from the greeting", () => {
    const version = versionOfGreeting({ major: 7, minor: 2, micro: 22, package: "Debian" });
    expect(version.text).toBe("7.2.22 (Debian)");
    expect(traits(version).machine).toBe("pc-q35-7.2");
  });

  test.each([
    ["7.2", false, false, false],
    ["9.1", false, false, true],
    ["10.0", true, false, true],
    ["10.2", true, true, true],
    ["11.1", true, true, true],
  ])("%s has its differences", (number, switchoverStart, postcopyDevice, recoverSetup) => {
    expect(traits(parseVersionText(`QEMU emulator version ${number}.0`))).toMatchObject({
      hasSwitchoverStart: switchoverStart,
      hasPostcopyDeviceState: postcopyDevice,
      hasPostcopyRecoverSetup: recoverSetup,
      machine: `pc-q35-${number}`,
    });
  });

  test.each(["7.1.0", "6.2.0", "2.12.0"])("%s is refused as too old", (number) => {
    expect(() => traits(parseVersionText(`QEMU emulator version ${number}`))).toThrow(/needs 7.2 or newer/);
  });
});
