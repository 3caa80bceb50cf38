import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { RunRecord } from "../base/run-record.ts";
import { findEngine } from "../fleet/engine.ts";
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

/** How a run came out. `unknown`: it has proved nothing, neither way. */
interface Came {
  readonly out: "as-expected" | "otherwise" | "unknown";
  readonly what: string;
}

/**
 * The finding of real runs whose agents have the bug: a copy of the project with the one file changed plays the scenario
 * as anybody would, until the bug shows, so many times at most. Nothing of the bug is in this project, and the image that
 * was built for it goes.
 * @param words of `ferryman run`, the scenario first
 */
export async function checkReal(seed: Seed, words: readonly string[], tries_max: number): Promise<Finding> {
  const began_ms = performance.now();
  await using project = await copyOf(seed);
  const by = `run ${words.join(" ")}`;
  const told = (what: string | null, tries: string): Finding => {
    return { seed: seed.name, by, what, tries, elapsed_ms: Math.round(performance.now() - began_ms) };
  };
  const unknown: string[] = [];
  for (let tries = 1; tries <= tries_max; tries += 1) {
    const { out, what } = await play(project.folder, words);
    if (out === "otherwise") return told(what, tries === 1 ? "1 run" : `run ${tries} of ${tries_max} at most`);
    if (out === "unknown") unknown.push(what);
  }
  const proved = unknown.length === 0 ? "" : `, of which ${unknown.length} proved nothing (${unknown[0]})`;
  return told(null, `${tries_max} ${tries_max === 1 ? "run" : "runs"}${proved}`);
}

/** Why a run without any bug does not come out as expected either: then it tells nothing of a bug. Absent: it does. */
export async function controlOf(words: readonly string[]): Promise<string | undefined> {
  const { out, what } = await play(ROOT, words);
  return out === "as-expected" ? undefined : what;
}

async function play(folder: string, words: readonly string[]): Promise<Came> {
  const tsx = join(ROOT, "node_modules/tsx/dist/cli.mjs");
  const [scenario = "", ...more] = words;
  const run = ["run", scenario, "--accel", "tcg", "--qemu", QEMU, "--memory", `${MEMORY_MIB}`, "--json", ...more];
  const options = { cwd: folder, timeout: RUN_MS_MAX, maxBuffer: OUTPUT_BYTES_MAX };
  const ended = await promisify(execFile)(process.execPath, [tsx, "harness/cli.ts", ...run], options).then(
    ({ stdout }) => ({ code: 0, stdout, stderr: "" }),
    (error: { readonly code?: number | string; readonly stdout?: string; readonly stderr?: string }) => ({
      code: typeof error.code === "number" ? error.code : -1,
      stdout: error.stdout ?? "",
      stderr: error.stderr ?? "",
    }),
  );
  // What was found of others is not lost by it.
  if (ended.code === 2) return { out: "unknown", what: `it could not be begun: ${ended.stderr.trim()}` };
  if (ended.code === 0) return { out: "as-expected", what: "" };
  return cameOf(ended.stdout, ended.stderr);
}

/** How a run that was not as expected came out, by the record that it printed. */
export function cameOf(stdout: string, stderr = ""): Came {
  const line = stdout.split("\n").find((one) => one.startsWith("{"));
  if (line === undefined)
    return { out: "unknown", what: `the run ended badly: ${stderr.trim().split("\n").at(-1) ?? ""}` };
  const said = JSON.parse(line) as RunSaid;
  const bad = said.checks.filter(({ verdict }) => verdict === false);
  const checks = bad.map(({ check, summary }) => `${check}: ${summary}`).join("; ");
  const what = `${said.verdict}, ${checks === "" ? said.why : checks}`;
  // A fault that never struck, a machine that was too busy: that finds no bug.
  return {
    out: said.verdict === "unknown" && !bad.some(({ check }) => check !== "struck") ? "unknown" : "otherwise",
    what,
  };
}

/** A copy of the project, as git knows it, with the bug in it; it goes with its image. */
export async function copyOf(seed: Seed): Promise<AsyncDisposable & { readonly folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "ferryman-seed-"));
  const remove = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    await removeImage(seed);
  };
  try {
    const listed = promisify(execFile)("git", ["ls-files", "-z"], { cwd: ROOT, maxBuffer: OUTPUT_BYTES_MAX });
    for (const file of (await listed).stdout.split("\0").filter((name) => name !== "")) {
      await mkdir(dirname(join(folder, file)), { recursive: true });
      await cp(join(ROOT, file), join(folder, file));
    }
    await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
    await writeFile(join(folder, seed.file), planted(seed, await readFile(join(ROOT, seed.file), "utf8")));
  } catch (error) {
    await remove();
    throw error;
  }
  return { folder, [Symbol.asyncDispose]: remove };
}

/** The hosts' image with the agent that has the bug. */
async function removeImage(seed: Seed): Promise<void> {
  const recipe = QEMU_RECIPES[QEMU];
  if (recipe === undefined) return;
  const base = debianTag(recipe);
  const agent = await agentBundle([seedPlugin(seed)]);
  const tag = hostTag({ base, base_content: base, tools: toolsTag(), agent });
  const docker = await findEngine();
  await docker
    ?.getImage(tag)
    .remove()
    .catch(() => undefined);
}
