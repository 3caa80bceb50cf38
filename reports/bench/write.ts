import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BenchResult } from "../../harness/bench/result.ts";
import { benchMarkdown } from "./markdown.ts";
import { renderBench } from "./page.ts";

/** Writes `bench.json`, `bench.md` and `index.html` into a folder. @returns the path of the page */
export async function writeBench(folder: string, result: BenchResult): Promise<string> {
  await mkdir(folder, { recursive: true });
  // First what everything else is made of.
  await writeFile(join(folder, "bench.json"), `${JSON.stringify(result, undefined, 2)}\n`);
  await writeFile(join(folder, "bench.md"), benchMarkdown(result));
  const index = join(folder, "index.html");
  await writeFile(index, await renderBench(result));
  return index;
}
