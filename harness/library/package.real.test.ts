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
import { CHECKS, defineScenario, finding, judged, judgeFolder, PURE_POSTCOPY, startFerryman, waitFor } from "ferryman";
import "ferryman/vitest";
import { expect, test } from "vitest";
import * as z from "zod";

await using ferryman = await startFerryman({ qemu: "10.0", runs: "./runs", accel: "tcg", memory_mib: 64 });

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
// A fault, a guest and a check of their own, each an object.
const mute = { fault: "my-mute", on: "link source-target", inject: ({ fleet }) => fleet.link("source-target").cutSilently("both") };
const guest = {
  kind: "theirs",
  start({ seed }) {
    const steps = new Map();
    return {
      files: { kernel: "/opt/ferryman/guests/integrity/integrity.elf", append: "rate=1000 seed=" + seed },
      onConsole: (host, line) => void (line.startsWith("step cpu=0 n=") && steps.set(host, parseInt(line.slice(13), 10))),
      booted: ({ host }) => waitFor({ what: "their guest to boot", timeout_ms: 60_000 }, () => steps.has(host.role) || undefined),
      steps: async ({ host }) => steps.get(host.role),
    };
  },
};
const steps = finding({ name: "steps", stage: "quiet", schema: z.number(), look: async ({ guest, vm }) => vm && guest.steps(vm) });
const stepsEnough = {
  name: "steps-enough",
  false_means: "corrupt",
  needs: [steps],
  applies: () => true,
  judge: ({ evidence }) => judged(steps.of(evidence), (n) => ({ verdict: n > 0, summary: n + " steps" })),
};

test("what is theirs stands beside what is Ferryman's", { timeout: 200_000 }, async () => {
  const [plan] = cut.faults;
  const muted = defineScenario({ ...cut, id: "my-mute", guests: [guest], faults: [{ ...plan, fault: mute }] });
  const checks = [...CHECKS, stepsEnough];
  const run = await ferryman.run(muted, { recovery: "stock", checks });
  expect(run).toHaveStruck();
  expect(run).toBeIntact();
  expect(run.record).toMatchObject({ guest: "theirs", faults: [{ fault: "my-mute", on: "link source-target" }] });
  expect(run.record.checks.map(({ check }) => check)).toContain("steps-enough");
  expect(await judgeFolder(run.folder, checks)).toMatchObject({ judged: { verdict: "intact" }, contradictions: [] });
});

test("under agents", { timeout: 200_000 }, async () => {
  expect(await ferryman.run(cut)).toBeAsExpected();
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
