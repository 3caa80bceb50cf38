import { UserError } from "../base/errors.ts";
import { changedAt, type JsonPath, placesIn } from "../base/json-places.ts";
import { HOST_ROLES, type TimelineEvent } from "../base/timeline.ts";
import { type JudgedAgain, judgeTexts, type RunTexts } from "../cli/judge.ts";
import { differences } from "../run/judge-again.ts";

/**
 * What of a run's files can be changed without a word: every field of `run.json`, `evidence.json` and the timeline is made
 * something else, one at a time, and the run is judged again. Somebody changes either the field alone, or computes every
 * digest anew as well: then only schemas and checks are left to find it, and it is told which field no check reads.
 */

export type RunFile = keyof RunTexts;
export const RUN_FILES: readonly RunFile[] = ["record", "evidence", "timeline"];

/** One field as it is not. */
export interface Forgery {
  readonly file: RunFile;
  /** Which field of which kind of object, without numbers: "tx.taken.pages". */
  readonly place: string;
  /** What was made of it, for people. */
  readonly how: string;
  /** The run's files with this one change. */
  readonly texts: () => RunTexts;
}

/**
 * What came of one. `seal`: the files contradict each other. `schema`: a file is refused. `check`: a check says something else. `nothing`: nobody
 * says anything else than before.
 */
export interface Fate {
  readonly found_by: "schema" | "seal" | "check" | "nothing";
  /** Which check, or what was said, without numbers. */
  readonly by: string;
  /** What the forged run comes to; "refused" where one of its files is. */
  readonly verdict: string;
}

/** A value as it is not, and in words; undefined: gone. */
type Other = readonly [how: string, value: unknown];

const VERDICTS = ["intact", "lost", "rollback", "corrupt", "split-brain", "unknown"];

/** Everything that a field is made: gone, of another type, another number, another host, another verdict. */
export function othersOf(value: unknown): readonly Other[] {
  const gone: Other = ["gone", undefined];
  if (typeof value === "number")
    return [
      gone,
      ["a text", `${value}`],
      ["one more", value + 1],
      ["0", 0],
      ["less than 0", -1 - Math.abs(value)],
    ].filter(([, other]) => other !== value) as Other[];
  if (typeof value === "boolean") return [gone, ["the opposite", !value], ["unknown", "unknown"], ["a number", 1]];
  if (typeof value === "string") return [gone, ...othersOfText(value)];
  if (Array.isArray(value))
    return [
      gone,
      ["an object", {}],
      ...(value.length === 0
        ? []
        : ([
            ["empty", []],
            ["one twice", [...value, value[0]]],
          ] as Other[])),
    ];
  if (value === null) return [gone, ["0", 0]];
  return [gone, ["a list", []], ["with a field more", { ...(value as object), forged: true }]];
}

function othersOfText(value: string): readonly Other[] {
  const others: Other[] = [
    ["a number", 7],
    ["longer", `${value}x`],
  ];
  for (const host of HOST_ROLES)
    if (value.includes(host) && value.length < 40)
      others.push(["another host", value.replaceAll(host, HOST_ROLES[(HOST_ROLES.indexOf(host) + 1) % 3] ?? host)]);
  if (VERDICTS.includes(value)) others.push(...VERDICTS.filter((one) => one !== value).map((one): Other => [one, one]));
  return others;
}

/** Every forgery of one file. A place of a timeline is named by the kind of its event. */
export function* forgeriesOf(texts: RunTexts, file: RunFile): Generator<Forgery> {
  if (file !== "timeline") {
    const whole: unknown = JSON.parse(texts[file]);
    for (const [place, how, forged] of forgedFieldsOf(whole)) {
      const text = (): string => `${JSON.stringify(forged(), null, file === "record" ? 2 : 1)}\n`;
      yield { file, place, how, texts: () => ({ ...texts, [file]: text() }) };
    }
    return;
  }
  const lines = texts.timeline.trimEnd().split("\n");
  for (const [index, line] of lines.entries()) {
    const event = JSON.parse(line) as TimelineEvent;
    const put = (how: string, place: string, forged: () => readonly string[]): Forgery => ({
      file,
      place: `${event.kind}${place}`,
      how,
      texts: () => ({ ...texts, timeline: `${forged().join("\n")}\n` }),
    });
    yield put("gone", "", () => lines.toSpliced(index, 1));
    yield put("twice", "", () => lines.toSpliced(index, 0, line));
    const next = lines[index + 1];
    if (next !== undefined) yield put("behind the next", "", () => lines.toSpliced(index, 2, next, line));
    for (const [place, how, forged] of forgedFieldsOf(event))
      yield put(how, `.${place}`, () => lines.with(index, JSON.stringify(forged())));
  }
}

function* forgedFieldsOf(whole: unknown): Generator<readonly [place: string, how: string, forged: () => unknown]> {
  for (const [path, value] of placesIn(whole))
    if (path.length > 0)
      for (const [how, other] of othersOf(value)) yield [nameOf(path), how, () => changedAt(whole, path, other)];
}

function nameOf(path: JsonPath): string {
  return path.map((key) => (typeof key === "number" ? "*" : key)).join(".");
}

/** What comes of a forgery, beside what the run came to as it was. */
export function fateOf(texts: RunTexts, was: JudgedAgain): Fate {
  let is: JudgedAgain;
  try {
    is = judgeTexts("run", texts);
  } catch (thrown) {
    if (!(thrown instanceof UserError)) throw thrown;
    return { found_by: "schema", by: withoutNumbers(thrown.message), verdict: "refused" };
  }
  const { verdict } = is.judged;
  const [first] = is.contradictions;
  if (first !== undefined) return { found_by: "seal", by: withoutNumbers(first), verdict };
  const differ = differences(was.judged.checks, is.judged.checks).map(({ check }) => check);
  if (differ.length > 0 || verdict !== was.judged.verdict)
    return { found_by: "check", by: differ.join(", ") || is.judged.why, verdict };
  return { found_by: "nothing", by: "", verdict };
}

function withoutNumbers(text: string): string {
  return text.replace(/\b[0-9a-f]{64}\b|\d+(\.\d+)?/g, "n").slice(0, 160);
}
