import { describe, expect, it } from "vitest";
import { FAULTS, type FaultSpec, whereOf } from "./index.ts";

describe("the list of faults", () => {
  it("names every fault as the fault names itself", () => {
    for (const [name, fault] of Object.entries(FAULTS)) expect(fault.name).toBe(name);
  });

  it.each<[FaultSpec, string]>([
    [{ fault: "kill-process", host: "source", process: "qemu" }, "qemu on source"],
    [{ fault: "kill-host", host: "target" }, "target"],
    [{ fault: "cut-silent", link: "source-target", direction: "both" }, "link source-target"],
    [{ fault: "cut-silent", link: "source-target", direction: "forward" }, "link source-target, forward"],
    [{ fault: "fill", host: "escrow", what: "shm" }, "shm of escrow"],
  ])("says where it strikes: %j", (spec, where) => {
    expect(whereOf(spec)).toBe(where);
  });
});
