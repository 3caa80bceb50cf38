import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { wholeNumber } from "../base/arguments.ts";
import { judgeTexts, type RunTexts } from "../cli/judge.ts";
import { resealed } from "../cli/testing/reseal.ts";
import { type Fate, fateOf, forgeriesOf, RUN_FILES } from "./forge.ts";
import { Dice } from "./mutate.ts";

interface Options {
  readonly resealed?: boolean;
  readonly sample: number;
  readonly seed: number;
  readonly all?: boolean;
}

/** Of the places that one thing has found. */
interface Row {
  count: number;
  readonly places: Map<string, number>;
}

new Command("forge")
  .description(
    "Changes every field of a run's files in turn (gone, another type, number, host, verdict), judges the run again, and tells what finds each change. Exit code 1 when a run passes for better than it was.",
  )
  .argument("<folder>", "a run's folder")
  .option("--resealed", "whoever changes a field computes every digest anew as well: only schemas and checks are left")
  .option("--sample <n>", "one of so many changes, by chance", wholeNumber, 1)
  .option("--seed <seed>", "for --sample", wholeNumber, 1)
  .option("--all", "name every place, not the first few of each line")
  .action((folder: string, options: Options) => {
    process.exitCode = forge(folder, options);
  })
  .parse();

function forge(folder: string, options: Options): number {
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  const texts: RunTexts = {
    record: read("run.json"),
    evidence: read("evidence.json"),
    timeline: read("timeline.ndjson"),
  };
  const was = judgeTexts(folder, texts);
  const dice = new Dice(options.seed);
  const rows = new Map<string, Row>();
  let better = 0;
  for (const file of RUN_FILES)
    for (const forgery of forgeriesOf(texts, file)) {
      if (dice.below(options.sample) > 0) continue;
      const forged = forgery.texts();
      const fate = fateOf(options.resealed ? resealed(forged) : forged, was);
      if (fate.verdict === "intact" && was.judged.verdict !== "intact") {
        better += 1;
        console.log(`passes for intact: ${file} ${forgery.place}, ${forgery.how}`);
      }
      const name = `${file} | ${fate.found_by} | ${wordsOf(fate)}`;
      const row = rows.get(name) ?? { count: 0, places: new Map() };
      row.count += 1;
      row.places.set(forgery.place, (row.places.get(forgery.place) ?? 0) + 1);
      rows.set(name, row);
    }
  console.log("| file | found by | what it says | changes | places |\n| --- | --- | --- | --- | --- |");
  for (const [name, { count, places }] of [...rows].sort()) {
    const named = [...places.keys()].slice(0, options.all ? undefined : 8);
    const more = places.size - named.length;
    console.log(`| ${name} | ${count} | ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""} |`);
  }
  return better === 0 ? 0 : 1;
}

function wordsOf({ found_by, by, verdict }: Fate): string {
  return found_by === "check" ? `${by} (${verdict})` : by.replaceAll("|", "/");
}
