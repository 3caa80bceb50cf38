import { describe, expect, it } from "vitest";
import { refusalIn } from "./probe.ts";

const about = { capabilities: "the capabilities multifd", "parameter x": "the parameter x=1" };
const GREETING = '{"QMP": {"version": {}, "capabilities": ["oob"]}}';
const ok = (id: string): string => `{"return": {}, "id": "${id}"}`;

describe("what a QEMU that is asked beforehand refuses", () => {
  it("is nothing where it answers to the end", () => {
    const event = '{"timestamp": {}, "event": "SHUTDOWN"}';
    const warning = "qemu-system-x86_64: warning: TCG doesn't support requested feature";
    expect(refusalIn([warning, GREETING, ok("hello"), ok("quit"), event].join("\r\n"), about)).toBeUndefined();
  });

  it("is told in its own words", () => {
    const desc = "Postcopy is not yet compatible with multifd";
    const refused = `{"id": "capabilities", "error": {"class": "GenericError", "desc": "${desc}"}}`;
    const said = refusalIn([GREETING, ok("hello"), refused, ok("quit")].join("\n"), about);
    expect(said).toBe(`refuses the capabilities multifd: "${desc}".`);
  });

  it("is the last thing that it says where it does not start", () => {
    const lines = [
      "qemu-system-x86_64: warning: something",
      "2026-11-26T17:42:36.107004Z qemu-system-x86_64: CPU model 'host' requires KVM",
      "",
    ];
    expect(refusalIn(lines.join("\n"), about)).toBe(
      `does not start like this: "qemu-system-x86_64: CPU model 'host' requires KVM".`,
    );
    expect(refusalIn("", about)).toContain("it says nothing");
    // It was ended in the middle, without an error.
    expect(refusalIn([GREETING, ok("hello")].join("\n"), about)).toContain("does not start");
  });
});
