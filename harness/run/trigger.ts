import type { MomentBefore } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import type { Trigger } from "./scenario.ts";
import { isStep, type StepName } from "./steps.ts";

/**
 * Whether an event is the one that a trigger waits for (its `after_ms` and `since` aside). Pure: a function of one event, and for
 * "fault" and "healed" of the index that a fault's id carries.
 */
export function fires(trigger: Trigger, event: TimelineEvent): boolean {
  switch (trigger.on) {
    case "step":
      return isStep(trigger.step, event, trigger.by);
    case "pages":
      return (
        event.kind === "migration.progress" &&
        event.pages_total > 0 &&
        event.pages_arrived * 100 >= trigger.percent * event.pages_total
      );
    case "requests":
      return event.kind === "migration.progress" && event.pages_requested >= trigger.count;
    case "bytes":
      return event.kind === "migration.progress" && event.transferred_bytes >= trigger.count;
    case "transactions":
      return event.kind === "tx.committed" && event.n >= trigger.count;
    case "fault":
      return event.kind === "fault.injected" && event.id === faultId(trigger.index);
    case "healed":
      return event.kind === "fault.healed" && event.id === faultId(trigger.index);
  }
}

/** Whether it waits for what becomes of another fault, or of its own: that comes once, and is so from then on. */
export function isOfFault(trigger: Trigger): trigger is Extract<Trigger, { readonly on: "fault" | "healed" }> {
  return trigger.on === "fault" || trigger.on === "healed";
}

/** Steps that come before a migration's end by what they are. */
const BEFORE_THE_END: readonly StepName[] = ["setup", "precopy", "switchover", "target-running"];

/**
 * What the moment of a trigger lies before; undefined: nobody can say, as with `after_ms`, which may well lead beyond the
 * migration's end. A fault that strikes after it was heard of too late: the harness did not get to run.
 */
export function momentBefore(trigger: Trigger): MomentBefore | undefined {
  if (trigger.after_ms !== undefined) return undefined;
  switch (trigger.on) {
    case "pages":
      return trigger.percent < 100 ? "end" : undefined;
    case "requests":
    case "bytes":
      return "end";
    case "transactions":
      return trigger.count;
    case "step":
      return trigger.since === undefined && BEFORE_THE_END.includes(trigger.step) ? "end" : undefined;
    case "fault":
    case "healed":
      return undefined;
  }
}

/** Id of a scenario's fault on the timeline. */
export function faultId(index: number): string {
  return `fault-${index}`;
}

/** A trigger in words, for tables and reports. */
export function triggerText(trigger: Trigger): string {
  const later = trigger.after_ms === undefined ? "" : ` + ${trigger.after_ms} ms`;
  switch (trigger.on) {
    case "step":
      return `${trigger.step}${trigger.by === undefined ? "" : ` of ${trigger.by}`}${trigger.since === undefined ? "" : ` since fault ${trigger.since}`}${later}`;
    case "pages":
      return `${trigger.percent} % of pages${later}`;
    case "requests":
      return `${trigger.count} requested pages${later}`;
    case "bytes":
      return `${trigger.count} bytes${later}`;
    case "transactions":
      return `transaction ${trigger.count} committed${later}`;
    case "fault":
      return `fault ${trigger.index}${later}`;
    case "healed":
      return `fault ${trigger.index} healed${later}`;
  }
}
