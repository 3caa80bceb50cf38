import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command, CommanderError } from "commander";
import { afterAll, describe, expect, it } from "vitest";
import { DEFAULT_TXSYNC } from "../run/txsync/settings.ts";
import { loadConfig } from "../txsync/agent/config.ts";
import { LIMITS } from "./limits.ts";
import { registerRun, settingsOf } from "./run.ts";

/** What the command says to its arguments; nothing is ever run: a number that is wrong is found before. */
async function refusal(...words: readonly string[]): Promise<string> {
  const said: string[] = [];
  const program = new Command().exitOverride().configureOutput({ writeErr: (text) => said.push(text) });
  registerRun(program);
  const [command] = program.commands;
  command?.exitOverride().configureOutput({ writeErr: (text) => said.push(text) });
  // A scenario that there is not: whatever passes the options ends there.
  const ended = program.parseAsync(["node", "ferryman", "run", "no-such-scenario", ...words]);
  const error: unknown = await ended.catch((thrown: unknown) => thrown);
  if (error instanceof CommanderError) return said.join("");
  expect(String(error)).toContain('There is no scenario "no-such-scenario"');
  return "";
}

describe("the numbers of the command line", () => {
  const options = [
    ["--memory", LIMITS.memory_mib],
    ["--seed", LIMITS.seed],
    ["--repeat", LIMITS.repeat],
    ["--jobs", LIMITS.jobs],
    ["--lease", LIMITS.lease_ms],
    ["--epoch", LIMITS.epoch_ms],
    ["--held-output", LIMITS.held_output_kib],
    ["--ahead", LIMITS.ahead_percent],
    ["--patience", LIMITS.patience_s],
    ["--working-set", LIMITS.working_set_mib],
    ["--chatter", LIMITS.chatter_lines_per_s],
    ["--smp", LIMITS.vcpus],
    ["--bandwidth", LIMITS.bandwidth_mib_per_s],
  ] as const;

  it.each(options)("%s is within its range, and told it where it is not", async (option, { least, most }) => {
    for (const value of [least, most]) expect(await refusal(option, String(value))).toBe("");
    const wrong = [String(most + 1), "99999999999999", "1.5", "x", ...(least > 0 ? [String(least - 1)] : ["-1"])];
    for (const value of wrong) expect(await refusal(option, value)).toContain(`from ${least} to ${most}`);
  });

  const folder = mkdtempSync(join(tmpdir(), "ferryman-limits-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("are none that an agent would refuse", async () => {
    const address = { host: "127.0.0.1", port: 1 };
    const path = join(folder, "agent.json");
    for (const lease of [LIMITS.lease_ms.least, LIMITS.lease_ms.most]) {
      for (const epoch of [LIMITS.epoch_ms.least, LIMITS.epoch_ms.most]) {
        for (const ahead of [LIMITS.ahead_percent.least, LIMITS.ahead_percent.most]) {
          const heldOutput = ahead === 0 ? LIMITS.held_output_kib.least : LIMITS.held_output_kib.most;
          const asked = settingsOf({ lease, epoch, ahead, heldOutput });
          const { protect_before: _, ...settings } = { ...DEFAULT_TXSYNC, ...asked };
          const rest = { role: "source", secret: "0".repeat(64), migration: "0".repeat(32), peers: {} };
          const folders = { state_folder: "", memory_folder: "", ram_path: "", qemu: "", pagescan: "", shim: null };
          const control = { ...address, token: "0".repeat(64) };
          const ports = { listen: address, listen_bulk: address, control, keep_log: true };
          writeFileSync(path, JSON.stringify({ ...rest, ...folders, ...ports, ...settings }));
          expect(await loadConfig(path)).toMatchObject({ lease_ms: lease, epoch_ms: epoch });
        }
      }
    }
  });
});
