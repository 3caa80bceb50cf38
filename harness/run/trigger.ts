import type { TimelineEvent } from "../base/timeline.ts";
import type { Trigger } from "./scenario.ts";

/**
 * Whether an event is the one that a trigger waits for (its `after_ms` aside). Pure: a function of one event, and for
 * "fault" and "healed" of the index that a fault's id carries.
 */
export function fires(trigger: Trigger, event: TimelineEvent): boolean {
  switch (trigger.on) {
    case "step":
      return event.kind === "migration.step" && event.step === trigger.step;
    case "pages":
      return (
        event.kind === "migration.progress" &&
        event.pages_total > 0 &&
        event.pages_arrived * 100 >= trigger.percent * event.pages_total
      );
    case "requests":
      return event.kind === "migration.progress" && event.pages_requested >= trigger.count;
    case "event":
      if (trigger.event === "protection-on") return event.kind === "protection" && event.state === "on";
      return event.kind === trigger.event;
    case "fault":
      return event.kind === "fault.injected" && event.id === faultId(trigger.index);
    case "healed":
      return event.kind === "fault.healed" && event.id === faultId(trigger.index);
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
      return `${trigger.step}${later}`;
    case "pages":
      return `${trigger.percent} % of pages${later}`;
    case "requests":
      return `${trigger.count} requested pages${later}`;
    case "event":
      return `${trigger.event}${later}`;
    case "fault":
      return `fault ${trigger.index}${later}`;
    case "healed":
      return `fault ${trigger.index} healed${later}`;
  }
}
