import { UserError } from "../base/errors.ts";
import type { Recovery } from "../base/run-record.ts";
import { guestName } from "../run/guests/index.ts";
import type { Scenario } from "../run/scenario.ts";
import { isFileName, scenariosIn } from "./scenario-file.ts";

export interface Chosen {
  readonly scenario: Scenario;
  /** As it is named on a command line: its id, the file that has it (`my.scenario.ts#id` where that has several), or options. */
  readonly named: string;
  /** Where it is to run with the seed that it had. */
  readonly seed?: number;
}

export interface Filters {
  /** That they are to run with, where it was asked for. */
  readonly guest?: string;
  readonly group?: readonly string[];
  readonly tag?: readonly string[];
}

const FINDINGS_GROUP = "findings";

/** The tags that a scenario was given, and the faults that it has. */
export function tagsOf({ tags = [], faults }: Scenario): readonly string[] {
  return [...new Set([...tags, ...faults.map(({ fault }) => fault.fault)])];
}

/**
 * Scenarios by name, glob (`target-*`), `all`, or file (`my.scenario.ts`, `my.scenario.ts#id`); where nothing is named and something filtered, of all. Each once,
 * in the order in which they were named. What was not named by itself is left out where it cannot happen under the recovery, or is
 * not for the guest.
 * @param recoveries under which they are to run; one is enough for a scenario to be able to happen
 * @throws UserError when something named is not there, nothing is left, or something named cannot happen
 */
export async function choose(
  names: readonly string[],
  { group, tag, guest }: Filters,
  recoveries: readonly Recovery[],
  ours: readonly Scenario[],
): Promise<readonly Chosen[]> {
  const filtered = group !== undefined || tag !== undefined;
  if (names.length === 0 && !filtered)
    throw new UserError(
      'Which scenarios? Name some (list tells them), "all", a glob such as "target-*", a file such as ./my.scenario.ts, or choose by --group or --tag; or put one together with --fault.',
    );
  // What QEMU is known to do wrong is looked at for its own sake: by name, by group or by tag.
  const all = filtered ? ours : ours.filter((scenario) => scenario.group !== FINDINGS_GROUP);
  const named = await Promise.all(
    (names.length === 0 ? ["all"] : names).map((name) =>
      chosenBy(name, recoveries, guest, name === "all" ? all : ours),
    ),
  );
  const seen = new Set<Scenario>();
  const chosen = named
    .flat()
    .filter(({ scenario }) => !seen.has(scenario) && seen.add(scenario))
    .filter(({ scenario }) => group === undefined || group.includes(scenario.group))
    .filter(({ scenario }) => tag === undefined || tagsOf(scenario).some((each) => tag.includes(each)));
  if (chosen.length > 0) return chosen;
  const groups = [...new Set(ours.map((scenario) => scenario.group))].join(", ");
  const tags = [...new Set(ours.flatMap(tagsOf))].sort().join(", ");
  throw new UserError(`No scenario is of that choice. Groups: ${groups}. Tags: ${tags}.`);
}

async function chosenBy(
  name: string,
  recoveries: readonly Recovery[],
  guest: string | undefined,
  ours: readonly Scenario[],
): Promise<readonly Chosen[]> {
  const able = ({ expect }: Scenario): boolean => recoveries.some((recovery) => expect[recovery] !== undefined);
  const fits = (scenario: Scenario): boolean =>
    able(scenario) &&
    (guest === undefined || guest === "custom" || scenario.guests.some((one) => guestName(one) === guest));
  const plain = (scenarios: readonly Scenario[]): Chosen[] =>
    scenarios.map((scenario) => ({ scenario, named: scenario.id }));
  if (isFileName(name)) {
    const [file = "", id] = name.split("#");
    const found = await scenariosIn(file);
    const wanted = id === undefined ? found : found.filter((scenario) => scenario.id === id);
    if (wanted.length === 0) throw new UserError(`${file} has no scenario "${id}". It has: ${idsOf(found)}.`);
    for (const scenario of wanted) if (!able(scenario)) refuse(scenario.id, recoveries);
    return wanted.map((scenario) => ({ scenario, named: found.length === 1 ? file : `${file}#${scenario.id}` }));
  }
  // Of all, those that can happen: without agents none can be killed.
  if (name === "all") return plain(ours.filter(fits));
  if (/[*?]/.test(name)) {
    const pattern = globOf(name);
    const found = ours.filter(({ id }) => pattern.test(id));
    if (found.length === 0) throw new UserError(`There is no scenario "${name}". There are: ${idsOf(ours)}.`);
    return plain(found.filter(fits));
  }
  const scenario = ours.find(({ id }) => id === name);
  if (scenario === undefined) throw new UserError(`There is no scenario "${name}". There are: ${idsOf(ours)}.`);
  if (!able(scenario)) refuse(name, recoveries);
  return plain([scenario]);
}

function refuse(name: string, recoveries: readonly Recovery[]): never {
  throw new UserError(
    recoveries.includes("stock")
      ? `The scenario ${name} breaks what only txsync has: run it with --recovery txsync.`
      : `The scenario ${name} says nothing of what to expect under txsync: run it with --recovery stock.`,
  );
}

function globOf(glob: string): RegExp {
  const parts = [...glob].map((sign) => {
    if (sign === "*") return ".*";
    return sign === "?" ? "." : sign.replace(/[\\^$.|+()[\]{}]/, "\\$&");
  });
  return new RegExp(`^${parts.join("")}$`);
}

function idsOf(scenarios: readonly Scenario[]): string {
  return scenarios.map(({ id }) => id).join(", ");
}
