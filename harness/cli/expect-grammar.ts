import { VERDICTS, type Verdict } from "../base/timeline.ts";
import { LIMITED, LIMITED_NAMES } from "../checks/limits.ts";
import type { Limit } from "../run/expectation.ts";
import { Cursor } from "./cursor.ts";
import { COUNT, DURATION, type Unit } from "./units.ts";

export interface ExpectSaid {
  readonly verdict: Verdict;
  /** What would do as well. */
  readonly too?: readonly Verdict[];
  readonly limits: readonly Limit[];
}

/**
 * What ought to come out, as it is typed: `intact`, `intact|lost` where either will do, or with limits, `intact, stillness <= 2s, detect <= 600ms`.
 * @throws GrammarError
 */
export function parseExpect(text: string): ExpectSaid {
  const cursor = new Cursor(text.trim());
  const verdict = cursor.word(VERDICTS, "a verdict");
  const too: Verdict[] = [];
  while (cursor.takes("|")) too.push(cursor.word(VERDICTS, "a verdict"));
  const limits: Limit[] = [];
  while (!cursor.done) {
    blanks(cursor);
    cursor.needs(",", 'a comma and a limit, such as "detect <= 600ms", or nothing more may stand here');
    blanks(cursor);
    // As it stands in reports and tables.
    cursor.match(/longest\s+(?=stillness\b)/y);
    const of = cursor.word(LIMITED_NAMES, "what has a limit");
    blanks(cursor);
    cursor.needs("<=", '"<=" is needed, and how much');
    blanks(cursor);
    limits.push({ of, most: unitOf(of).read(cursor) });
  }
  return { verdict, ...(too.length === 0 ? {} : { too }), limits };
}

export function printExpect({ verdict, too = [], limits }: ExpectSaid): string {
  return [[verdict, ...too].join("|"), ...limits.map(({ of, most }) => `${of} <= ${unitOf(of).print(most)}`)].join(
    ", ",
  );
}

function unitOf(of: Limit["of"]): Unit {
  return LIMITED[of].unit === "ms" ? DURATION : COUNT;
}

function blanks(cursor: Cursor): void {
  cursor.match(/\s+/y);
}
