import { HOST_ROLES } from "../base/timeline.ts";
import type { Trigger } from "../run/scenario.ts";
import { STEP_NAMES, stepOf } from "../run/steps.ts";
import type { Cursor } from "./cursor.ts";
import { BYTES, COUNT, DURATION, PERCENT, type Unit } from "./units.ts";

const COUNTED: Readonly<Record<"requests" | "bytes" | "transactions", Unit>> = {
  requests: COUNT,
  bytes: BYTES,
  transactions: COUNT,
};
const KINDS = ["step", "pages", "requests", "bytes", "transactions", "fault", "healed"] as const;

/**
 * When something happens, as it is typed: `step=target-running+200ms`, `step=vote-promised:escrow`, `pages=30%`,
 * `requests=100`, `bytes=8MiB`, `transactions=5`, `fault=0+1s`, `healed=0`; `fault=0,step=vote-asked`: at that step, but not
 * before that fault has struck.
 * @throws GrammarError
 */
export function readTrigger(cursor: Cursor): Trigger {
  const on = cursor.word(KINDS, "what is waited for");
  cursor.needs("=", `"=" is needed, and which ${on}`);
  const what = readWhat(cursor, on);
  if (!cursor.takes("+")) return what;
  const { at } = cursor;
  const after_ms = DURATION.read(cursor);
  if (after_ms === 0) cursor.fails("a time after something is longer than nothing", at);
  return { ...what, after_ms };
}

function readWhat(cursor: Cursor, on: (typeof KINDS)[number]): Trigger {
  switch (on) {
    case "step":
      return readStep(cursor);
    case "pages": {
      const { at } = cursor;
      const percent = PERCENT.read(cursor);
      if (percent <= 0 || percent > 100) cursor.fails("a share of the pages is more than 0% and at most 100%", at);
      return { on, percent };
    }
    case "requests":
    case "bytes":
    case "transactions": {
      const { at } = cursor;
      const count = COUNTED[on].read(cursor);
      if (count === 0) cursor.fails("a number of at least 1 is needed", at);
      return { on, count };
    }
    case "fault": {
      const index = COUNT.read(cursor);
      if (!cursor.takes(",")) return { on, index };
      cursor.needs("step=", '"step=" is needed, and which one once that fault has struck');
      return { ...readStep(cursor), since: index };
    }
    case "healed":
      return { on, index: COUNT.read(cursor) };
  }
}

function readStep(cursor: Cursor): Extract<Trigger, { on: "step" }> {
  const on = "step";
  const step = cursor.word(STEP_NAMES, "a step (list --steps tells them)");
  const { at } = cursor;
  if (!cursor.takes(":")) return { on, step };
  if (stepOf(step).part === "migration") cursor.fails(`the step ${step} is of no host: no agent tells of it`, at);
  return { on, step, by: cursor.word(HOST_ROLES, "a host") };
}

export function printTrigger(trigger: Trigger): string {
  const later = trigger.after_ms === undefined ? "" : `+${DURATION.print(trigger.after_ms)}`;
  switch (trigger.on) {
    case "step":
      return `${trigger.since === undefined ? "" : `fault=${trigger.since},`}step=${trigger.step}${trigger.by === undefined ? "" : `:${trigger.by}`}${later}`;
    case "pages":
      return `pages=${PERCENT.print(trigger.percent)}${later}`;
    case "requests":
    case "bytes":
    case "transactions":
      return `${trigger.on}=${COUNTED[trigger.on].print(trigger.count)}${later}`;
    case "fault":
    case "healed":
      return `${trigger.on}=${trigger.index}${later}`;
  }
}
