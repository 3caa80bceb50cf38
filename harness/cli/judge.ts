import { join } from "node:path";
import type { Command } from "commander";
import { parseRunRecord } from "../../reports/read.ts";
import { timelineEventSchema } from "../../reports/schema.ts";
import { parseJson, readText } from "../base/read-text.ts";
import type { RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { Check } from "../checks/check.ts";
import type { Evidence } from "../checks/evidence.ts";
import { type Judged, judge } from "../checks/verdict.ts";
import { parseEvidence, readEvidenceText, sha256Of } from "../run/evidence-file.ts";
import { filesGone } from "../run/files-left.ts";
import { believed, differences, inWords, recordContradictions, scenarioOf } from "../run/judge-again.ts";

/** `judge <folder>`: judges runs again by what they wrote down, with today's checks. */
export function registerJudge(program: Command): void {
  program
    .command("judge")
    .description(
      "judge old runs with today's checks; exit code 0: as they were judged then, 1: differently, or not of one piece, 2: cannot",
    )
    .argument("<folder...>", "folders of runs, with run.json, timeline.ndjson and evidence.json")
    .option("--json", "one JSON object a run, and nothing else")
    .action(async (folders: string[], { json }: { readonly json?: boolean }) => {
      let same = true;
      for (const folder of folders) {
        const again = await judgeFolder(folder);
        same &&= again.contradictions.length === 0 && again.judged.verdict === again.record.verdict;
        process.stdout.write(json === true ? `${JSON.stringify(jsonOf(folder, again))}\n` : textOf(folder, again));
      }
      process.exitCode = same ? 0 : 1;
    });
}

export interface JudgedAgain {
  readonly record: RunRecord;
  /** Unknown where the files contradict each other. */
  readonly judged: Judged;
  /** Where the files of the run contradict each other, or are not there any more. */
  readonly contradictions: readonly string[];
}

/**
 * Judges the run of a folder by its timeline and its evidence.
 * @throws UserError where one of its files is missing, is none, or is of a later version
 */
export async function judgeFolder(folder: string, checks?: readonly Check[]): Promise<JudgedAgain> {
  const read = readRun(folder, {
    record: await readText(join(folder, "run.json")),
    evidence: await readEvidenceText(folder),
    timeline: await readText(join(folder, "timeline.ndjson")),
  });
  return judgeRead(read, checks, await filesGone(folder, read.evidence.files ?? []));
}

/** What a run is judged by, as it stands in its files. */
export interface RunTexts {
  readonly record: string;
  readonly evidence: string;
  readonly timeline: string;
}

/**
 * `judgeFolder`, of what was read from `folder`, whose other files nobody looks for.
 * @throws UserError where one of them is none, or is of a later version
 */
export function judgeTexts(folder: string, texts: RunTexts): JudgedAgain {
  return judgeRead(readRun(folder, texts), undefined, []);
}

interface RunRead {
  readonly record: RunRecord;
  readonly evidence: Evidence;
  readonly events: readonly TimelineEvent[];
  /** Of the timeline: lines that were not written like this. */
  readonly changed: readonly string[];
  readonly seals: { readonly record: string; readonly evidence: string };
}

function readRun(folder: string, texts: RunTexts): RunRead {
  const path = join(folder, "run.json");
  const record = parseRunRecord(parseJson(texts.record, path), path);
  const { evidence, sha256 } = parseEvidence(texts.evidence, folder);
  const seals = { record: sha256Of(texts.record), evidence: sha256 };
  return { record, evidence, seals, ...readTimeline(texts.timeline) };
}

function judgeRead(
  { record, evidence, events, changed, seals }: RunRead,
  checks: readonly Check[] | undefined,
  gone: readonly string[],
): JudgedAgain {
  // What was written behind that says what came of it, and is nothing to judge by.
  const judged = judge(scenarioOf(record), events.slice(0, evidence.timeline.events), evidence, checks);
  const contradictions = [...changed, ...recordContradictions(record, events, evidence, seals), ...gone];
  return { record, judged: believed(judged, contradictions), contradictions };
}

/** The timeline as it was written; what of it was not written like this is named. */
function readTimeline(text: string): { events: readonly TimelineEvent[]; changed: readonly string[] } {
  const events: TimelineEvent[] = [];
  const changed: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const event = eventOf(line);
    if (event === undefined) changed.push(`line ${index + 1} of timeline.ndjson ${whatIsWrong(line)}`);
    else events.push(event);
  }
  return { events, changed };
}

/** Of a line that is no event of this version: a later one may have written it. */
function whatIsWrong(line: string): string {
  const kind = /^\{"at_ms":[0-9.]+,"lane":"[a-z]+","kind":"([a-z.-]+)"[,}]/.exec(line)?.[1];
  const known = timelineEventSchema.options.some((option) => option.shape.kind.value === kind);
  return kind === undefined || known
    ? "is torn or was changed"
    : `has an event ${kind}, which this version does not know: a later one wrote it, or it was changed`;
}

function eventOf(line: string): TimelineEvent | undefined {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (JSON.stringify(json) !== line || !timelineEventSchema.safeParse(json).success) return undefined;
  // Fields of a later version stay: the object itself is kept, not what the schema made of it.
  return json as TimelineEvent;
}

function textOf(folder: string, { record, judged, contradictions }: JudgedAgain): string {
  return `${[folder, ...inWords(record, judged, contradictions).map((line) => `  ${line}`)].join("\n")}\n`;
}

function jsonOf(folder: string, { record, judged, contradictions }: JudgedAgain): object {
  return {
    run: folder,
    was: { verdict: record.verdict, why: record.why },
    is: { verdict: judged.verdict, why: judged.why, checks: judged.checks, untidy: judged.untidy },
    contradictions,
    differences: differences(record.checks, judged.checks),
  };
}
