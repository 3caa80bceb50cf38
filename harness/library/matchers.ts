import { underText } from "../base/run-record.ts";
import type { Verdict } from "../base/timeline.ts";
import type { PlayedRun } from "./ferryman.ts";
import { howItWent } from "./how-it-went.ts";

/** What a matcher says: its message reads the same whether it was to match or not. */
export interface Matched {
  readonly pass: boolean;
  readonly message: () => string;
}

/** Of evidence so much is shown in a message; all of it is in the report. */
const EVIDENCE_SHOWN = 1_200;

/** Whether the run came to that verdict, and nothing of it is untidy. */
export function hasVerdict(run: PlayedRun, verdict: Verdict): Matched {
  const pass = run.record.verdict === verdict && run.untidy.length === 0;
  return { pass, message: () => storyOf(run, `the verdict ${verdict}`) };
}

/** Whether every fault of the scenario struck, and was healed where it was to be. */
export function hasStruck(run: PlayedRun): Matched {
  const struck = run.record.checks.find(({ check }) => check === "struck");
  const pass = run.record.faults.length > 0 && struck?.verdict === true;
  const why = run.record.faults.length === 0 ? "the scenario has no fault" : (struck?.summary ?? run.record.why);
  return { pass, message: () => storyOf(run, "every fault to strike", why) };
}

/** Whether the run came out as its scenario says, and nothing of it is untidy. */
export function isAsExpected(run: PlayedRun): Matched {
  const { as_expected, expected } = run.record;
  return { pass: as_expected, message: () => storyOf(run, `the verdict ${expected}, as the scenario says`) };
}

/** Why a run came out as it did, with the first evidence, how it went, and where the rest is. */
function storyOf({ record, report, folder }: PlayedRun, expected: string, why = record.why): string {
  const bad = record.checks.filter(({ verdict }) => verdict !== true);
  const [first] = bad;
  const evidence = first?.evidence === undefined ? "" : JSON.stringify(first.evidence);
  const went = howItWent(folder);
  const shown = evidence.length > EVIDENCE_SHOWN ? `${evidence.slice(0, EVIDENCE_SHOWN)} …` : evidence;
  return [
    `${record.scenario} (${underText(record)}): expected ${expected}, it is ${record.verdict}: ${why}`,
    ...bad.map(({ check, verdict, summary }) => `  ${check}: ${verdict}, ${summary}`),
    ...(shown === "" ? [] : [`  evidence of ${first?.check}: ${shown}`]),
    ...(went.length === 0 ? [] : ["  how it went:", ...went.map((line) => `  ${line}`)]),
    `  report: ${report}`,
    `  again:  ${record.command}`,
  ].join("\n");
}

/** What `ferryman/vitest` teaches vitest's `expect`. */
export const MATCHERS = {
  toBeIntact: (run: PlayedRun): Matched => hasVerdict(run, "intact"),
  toBeVerdict: (run: PlayedRun, verdict: Verdict): Matched => hasVerdict(run, verdict),
  toBeAsExpected: (run: PlayedRun): Matched => isAsExpected(run),
  toHaveStruck: (run: PlayedRun): Matched => hasStruck(run),
};
