import { Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import { WRITE_RATE_MAX } from "../run/guests/work.ts";
import { registerBench } from "./bench.ts";
import { LIMITS } from "./limits.ts";
import { listWithin } from "./options.ts";

/** What the command says to its arguments; nothing is ever run: every case here is refused. */
async function refusal(...words: readonly string[]): Promise<string> {
  const said: string[] = [];
  const program = new Command().exitOverride();
  registerBench(program);
  program.commands[0]?.exitOverride().configureOutput({ writeErr: (text) => said.push(text) });
  await expect(program.parseAsync(["node", "ferryman", "bench", ...words])).rejects.toThrow(CommanderError);
  return said.join("");
}

describe("options of bench", () => {
  it.each([
    ["--memory", "16", LIMITS.memory_mib.least, LIMITS.memory_mib.most],
    ["--memory", "128,,256", LIMITS.memory_mib.least, LIMITS.memory_mib.most],
    ["--write-rate", "1000,-1", 0, WRITE_RATE_MAX],
    ["--write-rate", `${WRITE_RATE_MAX + 1}`, 0, WRITE_RATE_MAX],
    ["--repeat", "0", LIMITS.repeat.least, LIMITS.repeat.most],
    ["--seed", "4294967296", LIMITS.seed.least, LIMITS.seed.most],
  ])("%s %s is refused, and told its range", async (option, value, least, most) => {
    expect(await refusal(option, value)).toContain(`from ${least} to ${most}`);
  });

  it("that are words are one of those there are", async () => {
    expect(await refusal("--accel", "hax")).toContain("auto, kvm, tcg");
    expect(await refusal("--qemu", "a b")).toContain("QEMU version");
    expect(await refusal("--only", "recovery,nothing")).toContain("migration, recovery, protected");
    expect(await refusal("--switchover-by", "me")).toContain("agent, qemu");
    expect(await refusal("--nothing")).toContain("unknown option");
  });

  it("a list is read as it is written, each value once", () => {
    expect(listWithin({ least: 1, most: 9 })("3,1,3,9")).toEqual([3, 1, 9]);
  });
});
