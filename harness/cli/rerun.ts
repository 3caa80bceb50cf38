import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { UserError } from "../base/errors.ts";
import { splitWords } from "../base/words.ts";

const RECORD = z.looseObject({ as_expected: z.boolean(), command: z.string() });

/**
 * The commands that run again what did not come out as expected, each once: as words, from behind `run`.
 * @param folder of a suite, as `reports/runs/latest`
 * @throws UserError when there is no such folder, it holds no runs, or all came out as expected
 */
export function failedIn(folder: string): readonly (readonly string[])[] {
  if (!existsSync(folder)) throw new UserError(`There is no folder ${folder}: nothing was run there yet.`);
  const records = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(folder, entry.name, "run.json"))
    .filter((file) => existsSync(file))
    .map((file) => ({ file, record: RECORD.safeParse(jsonIn(file)) }));
  if (records.length === 0) throw new UserError(`${folder} holds no runs.`);
  const commands = records.flatMap(({ file, record }) => {
    if (!record.success) throw new UserError(`${file} is no record of a run.`);
    return record.data.as_expected ? [] : [record.data.command];
  });
  if (commands.length === 0) throw new UserError(`All ${records.length} runs in ${folder} came out as expected.`);
  return [...new Set(commands)].map((command) => {
    const words = splitWords(command);
    if (command.startsWith("("))
      throw new UserError(`${folder} has runs that a program asked for: it has to run them again (${command}).`);
    return words.slice(words.indexOf("run") + 1);
  });
}

function jsonIn(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}
