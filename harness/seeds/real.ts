import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import Docker from "dockerode";
import type { RunRecord } from "../base/run-record.ts";
import { agentBundle } from "../fleet/images/agent.ts";
import { debianTag, QEMU_RECIPES } from "../fleet/images/debian.ts";
import { hostTag } from "../fleet/images/host.ts";
import { toolsTag } from "../fleet/images/tools.ts";
import { type Finding, seedPlugin } from "./run.ts";
import { planted, type Seed } from "./seed.ts";

const ROOT = join(import.meta.dirname, "../..");
const RUN_MS_MAX = 240_000;
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;
const QEMU = "10.0";
const MEMORY_MIB = 64;

/** What a run says of itself on standard output, as far as it is looked at. */
type RunSaid = Pick<RunRecord, "verdict" | "checks" | "why">;

/**
 * The finding of a real run whose agents have the bug: a copy of the project with the one file changed plays the scenario
 * as anybody would. Nothing of the bug is in this project, and the image that was built for it goes.
 */
export async function checkReal(seed: Seed, scenario: string): Promise<Finding> {
  const began_ms = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "ferryman-seed-"));
  const execute = promisify(execFile);
  try {
    const { stdout: files } = await execute("git", ["ls-files", "-z"], { cwd: ROOT, maxBuffer: OUTPUT_BYTES_MAX });
    for (const file of files.split("\0").filter((name) => name !== "")) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await cp(join(ROOT, file), join(folder, file));
    }
    await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
    await writeFile(join(folder, seed.file), planted(seed, await readFile(join(ROOT, seed.file), "utf8")));
    const tsx = join(ROOT, "node_modules/tsx/dist/cli.mjs");
    const run = ["run", scenario, "--accel", "tcg", "--qemu", QEMU, "--memory", `${MEMORY_MIB}`, "--json"];
    const options = { cwd: folder, timeout: RUN_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
    const ended = await execute(process.execPath, [tsx, "harness/cli.ts", ...run], options).then(
      ({ stdout }) => ({ code: 0, stdout }),
      (error: { readonly code?: number; readonly stdout?: string }) => ({
        code: error.code ?? -1,
        stdout: error.stdout ?? "",
      }),
    );
    if (ended.code === 2) throw new Error(`the run of ${scenario} with ${seed.name} could not be begun`);
    const what = ended.code === 0 ? null : whatOf(ended.stdout);
    const elapsed_ms = Math.round(performance.now() - began_ms);
    return { seed: seed.name, by: `run of ${scenario}`, what, tries: "1 run", elapsed_ms };
  } finally {
    await rm(folder, { recursive: true, force: true });
    await removeImage(seed);
  }
}

/** The checks that were not met. */
function whatOf(stdout: string): string {
  const line = stdout.split("\n").find((one) => one.startsWith("{"));
  if (line === undefined) return "the run ended badly";
  const said = JSON.parse(line) as RunSaid;
  const bad = said.checks.filter(({ verdict }) => verdict === false);
  const checks = bad.map(({ check, summary }) => `${check}: ${summary}`).join("; ");
  return `${said.verdict}, ${checks === "" ? said.why : checks}`;
}

/** The hosts' image with the agent that has the bug. */
async function removeImage(seed: Seed): Promise<void> {
  const recipe = QEMU_RECIPES[QEMU];
  if (recipe === undefined) return;
  const base = debianTag(recipe);
  const agent = await agentBundle([seedPlugin(seed)]);
  const tag = hostTag({ base, base_content: base, tools: toolsTag(), agent });
  await new Docker()
    .getImage(tag)
    .remove()
    .catch(() => undefined);
}
