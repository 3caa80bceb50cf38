import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build, type Plugin } from "esbuild";
import type { CoreCheck } from "./core-checks.ts";
import { planted, type Seed } from "./seed.ts";

const ROOT = join(import.meta.dirname, "../..");
/** What a check of one seed may take. */
const CHECK_MS_MAX = 180_000;
const OUTPUT_BYTES_MAX = 64 * 2 ** 20;

/** Who looked at a system with that bug, and what was found. */
export interface Finding {
  readonly seed: string;
  readonly by: string;
  readonly what: string | null;
  readonly tries: string;
  readonly elapsed_ms: number;
}

/** The file with the bug in the place of the file, for a bundle that is nobody's to ship. */
export function seedPlugin(seed: Seed): Plugin {
  const path = join(ROOT, seed.file);
  return {
    name: `seed-${seed.name}`,
    setup: ({ onLoad }) => {
      onLoad({ filter: /\.ts$/ }, async (file) =>
        file.path === path ? { contents: planted(seed, await readFile(path, "utf8")), loader: "ts" } : undefined,
      );
    },
  };
}

/** The findings of everybody who has to find it. `null` for the seed: the system as it ships. */
export async function check(seed: Seed): Promise<readonly Finding[]> {
  // A seed whose place has moved is no bug that anybody finds.
  planted(seed, await readFile(join(ROOT, seed.file), "utf8"));
  return seed.by === "core" ? await byCore(seed) : await byTests(seed, seed.by);
}

/** Search and simulator as one bundle with the bug in it, in a process of its own. */
async function byCore(seed: Seed): Promise<readonly Finding[]> {
  const folder = await mkdtemp(join(tmpdir(), "ferryman-seed-"));
  try {
    const program = join(folder, "checks.mjs");
    const stdin = {
      contents: `import { checkCore } from ${JSON.stringify(join(import.meta.dirname, "core-checks.ts"))};\nconsole.log(JSON.stringify(checkCore()));\n`,
      resolveDir: ROOT,
    };
    const made = await build({
      stdin,
      absWorkingDir: ROOT,
      bundle: true,
      write: false,
      platform: "node",
      target: "node24",
      format: "esm",
      logLevel: "silent",
      plugins: [seedPlugin(seed)],
    });
    await writeFile(program, made.outputFiles[0]?.text ?? "");
    const { stdout } = await promisify(execFile)(process.execPath, [program], {
      timeout: CHECK_MS_MAX,
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    const found = JSON.parse(stdout) as readonly CoreCheck[];
    return found.map((one) => ({ seed: seed.name, ...one }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface TestReport {
  readonly numTotalTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** Unit tests, of which one at least has to fail where its sources have the bug. */
async function byTests(seed: Seed, tests: readonly string[]): Promise<readonly Finding[]> {
  const began_ms = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "ferryman-seed-"));
  const report_path = join(folder, "report.json");
  try {
    const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
    const run = [
      "run",
      "--config",
      ".vitest.seeds.config.ts",
      "--reporter=json",
      `--outputFile=${report_path}`,
      ...tests,
    ];
    const options = {
      cwd: ROOT,
      timeout: CHECK_MS_MAX,
      maxBuffer: OUTPUT_BYTES_MAX,
      env: { ...process.env, FERRYMAN_SEED: seed.name },
    };
    // A run with a failed test ends with an error, which is what is looked for.
    const failed = await promisify(execFile)(process.execPath, [vitest, ...run], options).then(
      () => false,
      () => true,
    );
    const text = await readFile(report_path, "utf8").catch(() => null);
    const report = text === null ? null : (JSON.parse(text) as TestReport);
    const all = report?.testResults.flatMap(({ assertionResults }) => assertionResults) ?? [];
    // A busy machine finds no bug.
    const isLate = (messages: readonly string[]): boolean => messages.some((text) => text.includes("timed out"));
    const bad = all.filter(({ status, failureMessages }) => status === "failed" && !isLate(failureMessages));
    const elapsed_ms = Math.round(performance.now() - began_ms);
    const first = bad[0]?.fullName ?? report?.testResults.find(({ message }) => message !== "")?.message.split("\n")[0];
    // A machine that is too busy for them, or tests that wait for what the bug has taken away: nobody can tell.
    const broke_off = failed && first === undefined && all.every(({ status }) => status !== "failed");
    const tries = broke_off ? "they did not come to an end" : `${bad.length} of ${all.length} tests`;
    return [{ seed: seed.name, by: "unit tests", what: failed ? (first ?? null) : null, tries, elapsed_ms }];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
