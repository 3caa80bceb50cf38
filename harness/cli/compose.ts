import type { Recovery } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import { PURE_POSTCOPY, type Scenario } from "../run/scenario.ts";
import { checkScenario } from "../run/scenario-schema.ts";
import { parseExpect, printExpect } from "./expect-grammar.ts";
import { parseFault, printFault } from "./fault-grammar.ts";

export const COMPOSED_ID = "composed";

/** What was said of a scenario on the command line. */
export interface Said {
  readonly faults: readonly string[];
  readonly expect?: string | undefined;
  /** Under which it is to run: of each the expectation is said. */
  readonly recoveries: readonly Recovery[];
}

/**
 * The scenario that was put together on the command line: out of nothing, or a scenario with further faults or another
 * expectation. Without a word of what to expect, what comes out is compared with nothing: it is expected to be intact.
 * @throws UserError that says where what was typed is wrong
 */
export function compose({ faults, expect, recoveries }: Said, base?: Scenario): Scenario {
  const before = base?.faults ?? [];
  const added = faults.map((text, n) => parseFault(text, before.length + n));
  const said = expect === undefined ? undefined : parseExpect(expect);
  const all = [...before, ...added];
  const typed = all.map((plan, index) => printFault(plan, index));
  // A verdict for a version of QEMU would go before the one that was just said.
  const { expect_on, limits, allow, ...rest }: Partial<Scenario> = base ?? {};
  const verdicts = recoveries.map((recovery) => [recovery, said?.verdict ?? base?.expect[recovery] ?? "intact"]);
  const most = said !== undefined && said.limits.length > 0 ? said.limits : limits;
  const composed: Scenario = {
    id: base === undefined ? COMPOSED_ID : base.id,
    group: "composed",
    title: typed.length === 0 ? "nothing is broken" : typed.join(" and "),
    guests: ["integrity", "linux"],
    migration: PURE_POSTCOPY,
    ...rest,
    ...(added.length === 0 ? {} : { title: typed.join(" and "), group: "composed" }),
    faults: all,
    expect: { ...base?.expect, ...Object.fromEntries(verdicts) },
    ...allowedToo(said?.too, recoveries, said === undefined ? allow : undefined),
    ...(most === undefined ? {} : { limits: most }),
    ...(said === undefined && expect_on !== undefined ? { expect_on } : {}),
  };
  return checkScenario(composed, "What was put together");
}

function allowedToo(
  said: readonly Verdict[] | undefined,
  recoveries: readonly Recovery[],
  own: Scenario["allow"],
): Pick<Scenario, "allow"> {
  const allow =
    said?.flatMap((verdict) => recoveries.map((under) => ({ under, verdict, why: "it was asked for" }))) ?? own;
  return allow === undefined ? {} : { allow };
}

/** How it is said on the command line again. */
export function saidAgain({ faults, expect }: Said): readonly string[] {
  return [
    ...faults.flatMap((text) => ["--fault", text]),
    ...(expect === undefined ? [] : ["--expect", printExpect(parseExpect(expect))]),
  ];
}
