import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { StartedVm } from "../../fleet/vm.ts";
import { BootWork, cpuSecondsIn } from "./boot-work.ts";

const STAT = "42 (qemu (x) 86) S 1 42 42 0 -1 4194304 900 0 0 0 1250 275 0 0 20 0 4 0 100 1000 50";

describe("what a VM has used of a processor", () => {
  it("is read behind the process's name, whatever that is", () => {
    expect(cpuSecondsIn(STAT)).toBe(15.25);
    expect(cpuSecondsIn("")).toBe(0);
    const own = cpuSecondsIn(readFileSync("/proc/self/stat", "utf8"));
    expect(own).toBeGreaterThan(0);
    expect(own).toBeLessThanOrEqual(process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6 + 1);
  });

  it("is told up to what a boot needs, is asked once a second, and is none of a host that does not answer", async () => {
    let asked = 0;
    const vm = (text: string | Error) =>
      ({
        process: { pid: 42 },
        host: {
          run: async () => {
            asked += 1;
            if (text instanceof Error) throw text;
            return text;
          },
        },
      }) as unknown as StartedVm;
    const work = new BootWork();
    expect([await work.of(vm(STAT)), await work.of(vm(STAT)), asked]).toEqual([15, 15, 1]);
    expect(await new BootWork().of(vm(new Error("gone")))).toBe(0);
    expect(await new BootWork().of(vm(STAT.replace("1250", "999999")))).toBe(40);
  });
});
