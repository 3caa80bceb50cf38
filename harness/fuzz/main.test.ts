import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");

it("feeds a reader in a process of its own, and says how it went", () => {
  const tsx = join(ROOT, "node_modules/tsx/dist/cli.mjs");
  const args = [tsx, join(import.meta.dirname, "main.ts"), "--only", "fault grammar", "--cases", "2000"];
  const said = execFileSync(process.execPath, args, { encoding: "utf8", timeout: 60_000 });
  expect(said).toMatch(/^fault grammar: 2000 inputs in [\d.]+ s, \d+ taken, \d+ different answers\n$/);
});
