import type { TimelineEvent } from "../base/timeline.ts";
import type { FaultNamed } from "./check.ts";

/**
 * Whether a fault struck only when the migration was over, though its moment lies before that: the harness did not get to
 * run, and heard of the moment too late. That it was over is not believed on an agent's word alone: the target's QEMU has
 * told the harness itself that it has every page, and under txsync the VM was handed off besides, and is protected no
 * more. What strikes before both is what the recovery is there for.
 *
 * The deed comes after its event on the timeline. So of a fault that takes the target's VM away also counts what the
 * dead, or the frozen, have told after that event: they told it before.
 */
export function cameTooLate({ id, before, stops }: FaultNamed, events: readonly TimelineEvent[]): boolean {
  if (before === undefined) return false;
  const at = events.findIndex((event) => event.kind === "fault.injected" && event.id === id);
  const injected = events[at];
  if (injected?.kind !== "fault.injected") return false;
  const last = carriedUntil(events, at);
  const exited = events.findIndex((event, index) => index > at && isOfTarget(event, "qemu.exited"));
  const healed = events.findIndex((event) => event.kind === "fault.healed" && event.id === id);
  const upTo = (index: number): number => (index < 0 ? last : Math.min(last, index));
  // Who still lives may tell of an end that came after the fault: an agent beside its dead QEMU, a host that was thawed.
  const [until_qemu, until_agent] = (() => {
    if (stops !== "target") return [at, at];
    switch (injected.fault) {
      case "kill-host":
        return [last, last];
      case "freeze-host":
        return [upTo(healed), upTo(healed)];
      case "kill-process":
        return [last, exited < 0 ? at : upTo(exited)];
      default:
        return [at, at];
    }
  })();
  const began = events.findLastIndex((event, index) => index < at && isOfTarget(event, "qemu.started"));
  const qemu = events[began];
  if (qemu?.kind !== "qemu.started") return false;
  // Whatever ended it before was not this fault.
  if (events.slice(began, at).some((event) => isOfTarget(event, "qemu.exited"))) return false;
  if (!events.slice(began, until_qemu).some((event) => hasEveryPage(event, qemu.pid))) return false;
  return isStock(events) ? before === "end" : isHandedOff(events.slice(began, until_agent), before);
}

/** Where the carrying over ends: what is told later is of what was done with the VM afterwards. */
function carriedUntil(events: readonly TimelineEvent[], from: number): number {
  const end = events.findIndex(
    (event, index) => index > from && (event.kind === "run.settled" || event.kind === "run.phase"),
  );
  return end < 0 ? events.length : end;
}

function isOfTarget({ lane, kind }: TimelineEvent, wanted: TimelineEvent["kind"]): boolean {
  return lane === "target" && kind === wanted;
}

function isStock(events: readonly TimelineEvent[]): boolean {
  return events.some((event) => event.kind === "run.started" && event.recovery === "stock");
}

/** The target's QEMU has told the harness's own monitor that its migration is complete. */
function hasEveryPage(event: TimelineEvent, pid: number): boolean {
  if (event.kind !== "qmp.event" || event.lane !== "target" || event.pid !== pid) return false;
  const { data } = event;
  return (
    event.event === "MIGRATION" &&
    typeof data === "object" &&
    data !== null &&
    "status" in data &&
    data.status === "completed"
  );
}

/** The target owns the VM alone, with that transaction behind it, and nobody protects it any more. */
function isHandedOff(told: readonly TimelineEvent[], before: NonNullable<FaultNamed["before"]>): boolean {
  const at = told.findIndex((event) => isOfTarget(event, "handoff"));
  const handoff = told[at];
  if (handoff?.kind !== "handoff" || (before !== "end" && handoff.n <= before)) return false;
  return !told.slice(at).some((event) => event.kind === "protection" && event.state === "on");
}
