import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, UserError } from "../base/errors.ts";
import { isOwnFault } from "../faults/index.ts";
import type { Scenario } from "../run/scenario.ts";
import { checkScenario } from "../run/scenario-schema.ts";

/** Ends the name of a file with scenarios. */
export const SCENARIO_FILE = /\.scenario\.[cm]?[jt]s$/;

/** Whether what was named is a file, not a scenario of ours. */
export function isFileName(name: string): boolean {
  return name.includes("/") || /\.[cm]?[jt]s(#[\w-]+)?$/.test(name);
}

/**
 * The scenarios that a file exports, wherever it lies: every export that is an object with an `id`, and every list of
 * such.
 * @throws UserError when there is no such file, it cannot be loaded, has no scenario, or one that is wrong
 */
export async function scenariosIn(name: string): Promise<readonly Scenario[]> {
  const path = resolve(name);
  if (!existsSync(path)) throw new UserError(`There is no file ${name}.`);
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${name} could not be loaded: ${messageOf(error)}.`);
  }
  // A file outside of any package may be loaded as CommonJS: then its exports stand under `default` as well.
  const all = new Set(Object.values({ ...asRecord(exported["default"]), ...exported }).flat());
  const found = [...all].filter((value) => "id" in asRecord(value));
  if (found.length === 0)
    throw new UserError(
      `${name} exports no scenario: an object with id, group, title, guests, migration, faults, expect.`,
    );
  return found.map((scenario) => checkScenario(scenario, `"${String(asRecord(scenario)["id"])}" in ${name}`));
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/**
 * Writes a scenario as a file that `run` takes, named after it.
 * @param again the command that says the same without it
 * @returns the scenario as it stands in the file
 * @throws UserError when there is such a file already, or its name does not do
 */
export async function saveScenario(name: string, scenario: Scenario, again: string): Promise<Scenario> {
  if (!SCENARIO_FILE.test(name)) throw new UserError(`${name}: the name of a scenario's file ends with .scenario.ts.`);
  if (
    scenario.faults.some(({ fault }) => isOwnFault(fault)) ||
    scenario.guests.some((guest) => typeof guest === "object")
  )
    throw new UserError(
      `${name}: a fault or a guest that is an object of yours cannot be written down: write the file by hand.`,
    );
  const id = basename(name).replace(SCENARIO_FILE, "");
  const saved = checkScenario({ ...scenario, id }, name);
  // The import is of a type only: it is gone when the file runs, with Ferryman installed beside it or not.
  const text = `import type { Scenario } from "ferryman";

/** Put together by: ${again.replaceAll("*/", "*\\/")} */
export const scenario: Scenario = ${JSON.stringify(saved, null, 2).replaceAll(/^(\s*)"([a-zA-Z_]\w*)":/gm, "$1$2:")};
`;
  try {
    await writeFile(name, text, { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST")
      throw new UserError(`There is a file ${name} already: choose another name, or remove it.`);
    throw new UserError(`${name} could not be written: ${messageOf(error)}.`);
  }
  return saved;
}
