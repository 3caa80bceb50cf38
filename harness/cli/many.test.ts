import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { shardIn } from "../explore/shard.ts";
import { declareRun } from "./run.ts";

/** What is ready to use on many machines says what the command line takes, and lets a part know that it is one. */

const ROOT = join(import.meta.dirname, "..", "..");
const FILES = [".github/workflows/matrix.yml", ".ci/many/gitlab.yml", ".ci/many/kubernetes.yaml", ".ci/many/slurm.sh"];
const textOf = (file: string): string => readFileSync(join(ROOT, file), "utf8");

/** The words behind `run` of the one command in the file that runs a matrix, what the shell fills in left out. */
function wordsOf(text: string): readonly string[] {
  const [, line = ""] = /^(?!#).*harness\/cli\.ts run (--matrix.*)$/m.exec(text) ?? [];
  const filled = line
    .replace("$ARGUMENTS", "--matrix-slice 0 --pairs 7.2,10.0,11.1 --accels tcg")
    .replace(/\$\{MATRIX:-(.*?)\}/, "$1")
    .replace(/"\$\{where\[@\]\}"|"\$@"/, "--folder part")
    .replace("$CI_NODE_INDEX", "1");
  return filled.split(/\s+/).filter((word) => word !== "");
}

describe.each(FILES)("%s", (file) => {
  it("runs a matrix by words that run takes", () => {
    const words = wordsOf(textOf(file));
    const command = declareRun(new Command()).exitOverride();
    command.parse([...words], { from: "user" });
    expect(command.opts()).toMatchObject({ matrix: true, matrixSlice: 0, seed: 7 });
    expect(Object.keys(command.opts())).toContain("folder");
  });

  it("puts the parts together, or says how", () => {
    const text = textOf(file);
    if (!file.includes("kubernetes")) expect(text).toMatch(/report merge .*--into/);
  });
});

it("says to a pod how many there are, as the job says it", () => {
  const text = textOf(".ci/many/kubernetes.yaml");
  const [, completions] = /^ {2}completions: (\d+)$/m.exec(text) ?? [];
  const [, said] = /name: JOB_COMPLETIONS\n\s*value: "(\d+)"/.exec(text) ?? [];
  expect(said).toBe(completions);
  expect(shardIn({ JOB_COMPLETION_INDEX: "0", JOB_COMPLETIONS: said })).toMatchObject({
    index: 1,
    of: Number(completions),
  });
});
