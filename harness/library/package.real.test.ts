import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";

/**
 * The package as somebody else gets it: packed, installed into an empty project, and used by a vitest file of theirs. Their
 * scenario is played on real parts; whatever is missing from the package is missing here.
 */
const PROJECT = join(import.meta.dirname, "../..");
const OUTPUT_BYTES = 16 * 1024 ** 2;
const folder = mkdtempSync(join(tmpdir(), "ferryman-package-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const THEIR_TEST = `
import { CHECKS, defineScenario, PURE_POSTCOPY, startFerryman } from "ferryman";
import "ferryman/vitest";
import { afterAll, expect, test } from "vitest";

const ferryman = await startFerryman({ qemu: "10.0", runs: "./runs", accel: "tcg", memory_mib: 64 });
afterAll(() => ferryman[Symbol.asyncDispose]());

const cut = defineScenario({
  id: "my-cut",
  title: "the link is cut for 200 ms at 40 %",
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "pages", percent: 40 },
      heal: { on: "fault", index: 0, after_ms: 200 },
    },
  ],
  expect: { txsync: "intact", stock: "intact" },
});
const myCheck = {
  name: "short-stillness",
  false_means: "untidy",
  applies: () => true,
  judge: ({ events }) => ({ verdict: events.length > 100, summary: events.length + " events were seen" }),
};

test.for(["stock", "txsync"] as const)("%s", { timeout: 200_000 }, async (recovery) => {
  const run = await ferryman.run(cut, { recovery, checks: [...CHECKS, myCheck] });
  expect(run).toHaveStruck();
  expect(run).toBeIntact();
  expect(run.record.checks.map(({ check }) => check)).toContain("short-stillness");
});
`;

async function inFolder(cwd: string, program: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(program, args, { cwd, maxBuffer: OUTPUT_BYTES }).catch(
    (error: { stdout?: string; stderr?: string; message: string }) => {
      throw new Error(`${program} ${args.join(" ")}: ${error.message}\n${error.stdout ?? ""}\n${error.stderr ?? ""}`);
    },
  );
  return `${stdout}${stderr}`;
}

test("packed and installed into an empty project, it plays a scenario of theirs and starts as a command", {
  timeout: 600_000,
}, async () => {
  const packed = await inFolder(PROJECT, "npm", "pack", "--json", "--silent", "--pack-destination", folder);
  const [{ filename }] = JSON.parse(packed.slice(packed.indexOf("["))) as [{ filename: string }];
  const { devDependencies } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as {
    devDependencies: { vitest: string };
  };
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "theirs", type: "module", private: true }));
  const quiet = ["--no-audit", "--no-fund", "--prefer-offline"];
  await inFolder(folder, "npm", "install", ...quiet, `./${filename}`, `vitest@${devDependencies.vitest}`);
  writeFileSync(join(folder, "my.test.ts"), THEIR_TEST);
  expect(await inFolder(folder, "npx", "ferryman", "list")).toContain("no-fault");
  expect(await inFolder(folder, "npx", "vitest", "run")).toMatch(/2 passed/);
});
