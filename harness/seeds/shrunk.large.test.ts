import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { copyOf } from "./real.ts";
import { seedOf } from "./seeds.ts";

const OUTPUT_BYTES_MAX = 64 * 2 ** 20;
const MS_MAX = 1_500_000;
/**
 * Drawn from seed 28 of these faults and steps: the link is slow, a third of a second later the target's host dies, and there
 * is a setting. With this bug every restore is wrong, so that only the host's death has to be left.
 */
const DRAWN =
  "--seed 28 --seeds 1 --faults kill-host-target,latency-* --steps transaction-committed,target-running,handoff-* --pairs 10.0 --memory 32 --shard none";
const BUG = "rom-missing";

test("on real parts a schedule that fails against the model is made smaller, until only what is needed is left", {
  timeout: MS_MAX,
}, async () => {
  await using project = await copyOf(seedOf(BUG));
  const folder = mkdtempSync(join(tmpdir(), "ferryman-shrunk-"));
  try {
    const words = ["explore", ...DRAWN.split(" "), "--folder", join(folder, "explored")];
    const { code, said } = await commandIn(project.folder, words);
    expect(code, said).toBe(1);
    const [, smallest = "", steps = ""] = /^ {2}smallest: (.*) \((.*)\)$/m.exec(said) ?? [];
    expect(smallest).toMatch(/^kill-host:target@\S+$/);
    expect(steps).toContain("without latency");
    expect(steps).toContain("with usual settings");
    const [, file = ""] = /; (\S+\.scenario\.ts)$/m.exec(said) ?? [];
    expect(existsSync(file)).toBe(true);
    expect(readFileSync(file, "utf8")).toMatch(/kill-host/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

async function commandIn(folder: string, words: readonly string[]): Promise<{ code: number; said: string }> {
  const tsx = join(folder, "node_modules/tsx/dist/cli.mjs");
  const options = { cwd: folder, timeout: MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, [tsx, "harness/cli.ts", ...words], options, (error, stdout, stderr) => {
      resolve({
        code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1,
        said: `${stdout}\n${stderr}`,
      });
    });
    // It takes minutes: who waits sees how far it is.
    child.stderr?.pipe(process.stderr, { end: false });
  });
}
