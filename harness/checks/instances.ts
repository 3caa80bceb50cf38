import type { HostRole, TimelineEvent } from "../base/timeline.ts";
import { HOST_ROLES } from "../base/timeline.ts";

/**
 * When which instance of the VM ran, from the vCPUs' own history: QEMU's STOP and RESUME by QEMU's own stamps, and the
 * step counter as it was read in the guest's memory. A function of the timeline; what no agent says is in it.
 */

/** A time in which the vCPUs of an instance ran, in milliseconds of the run's clock. */
export interface Span {
  readonly from_ms: number;
  /** When they were known to stand, or to be no more. */
  readonly to_ms: number;
  /**
   * Until when they certainly ran: the stamp of STOP, or the timeline's end. Of one that was killed, when nobody told at
   * what instant, the last look but one at which its counter had gone on, for the last says only that it ran after that.
   * One that a fault froze ran until then.
   */
  readonly sure_to_ms: number;
}

export interface Instance {
  readonly host: HostRole;
  /** Pid of its QEMU inside the host. */
  readonly pid: number;
  readonly spans: readonly Span[];
}

/** Two instances that ran at one time. */
export interface Overlap {
  readonly hosts: readonly [HostRole, HostRole];
  readonly pids: readonly [number, number];
  /** The first time; all of them together lasted `sum_ms`, the longest `longest_ms`. */
  readonly from_ms: number;
  readonly to_ms: number;
  readonly longest_ms: number;
  readonly sum_ms: number;
  readonly times: number;
}

/** Two that ran at one time for less than this are not told from two stamps that were taken at one instant. */
export const OVERLAP_MS = 10;
/** A stamp that is older than this when it comes is not a late one: somebody has set that host's clock. */
const STAMP_LATE_MS = 5_000;

interface Open {
  readonly from_ms: number;
  /** The last look at which the counter had grown. */
  look: { readonly at_ms: number; readonly step: number } | undefined;
  /** By looks alone. */
  seen_to_ms: number;
  frozen_ms: number | undefined;
}

interface Building {
  readonly host: HostRole;
  readonly pid: number;
  readonly spans: Span[];
  open: Open | undefined;
}

/** Puts QEMU's stamps onto the run's clock: an event is never told before it happened, and once it is told at once. */
function clockOf(events: readonly TimelineEvent[]): (event: Extract<TimelineEvent, { kind: "qmp.event" }>) => number {
  let offset_ms = Number.POSITIVE_INFINITY;
  for (const event of events)
    if (event.kind === "qmp.event" && event.qemu_ms !== undefined)
      offset_ms = Math.min(offset_ms, event.at_ms - event.qemu_ms);
  return ({ at_ms, qemu_ms }) => {
    if (qemu_ms === undefined) return at_ms;
    const stamp_ms = qemu_ms + offset_ms;
    return at_ms - stamp_ms > STAMP_LATE_MS ? at_ms : stamp_ms;
  };
}

/** All instances that a timeline tells of, in the order in which their QEMUs were started. */
export function instancesOf(events: readonly TimelineEvent[]): readonly Instance[] {
  const stampOf = clockOf(events);
  const all: Building[] = [];
  const latest = new Map<HostRole, Building>();
  const of = (host: HostRole, pid: number | undefined): Building | undefined =>
    pid === undefined ? latest.get(host) : all.findLast((one) => one.host === host && one.pid === pid);
  const close = (one: Building | undefined, to_ms: number, how: "stopped" | "gone" | "still there"): void => {
    if (one?.open === undefined) return;
    const { from_ms, seen_to_ms, frozen_ms } = one.open;
    one.open = undefined;
    const end_ms = Math.max(from_ms, to_ms);
    const sure_to_ms = how === "stopped" ? end_ms : how === "gone" ? seen_to_ms : (frozen_ms ?? end_ms);
    one.spans.push({ from_ms, to_ms: end_ms, sure_to_ms: Math.min(end_ms, sure_to_ms) });
  };
  const begin = (one: Building | undefined, from_ms: number): void => {
    if (one !== undefined && one.open === undefined)
      one.open = { from_ms, look: undefined, seen_to_ms: from_ms, frozen_ms: undefined };
  };
  let last_ms = 0;
  for (const event of events) {
    last_ms = Math.max(last_ms, event.at_ms);
    if (event.kind === "fault.injected" && event.fault.startsWith("freeze"))
      for (const { host, open } of all)
        if (open !== undefined && event.what.split(/[^a-z]+/).includes(host)) open.frozen_ms ??= event.at_ms;
    const host = HOST_ROLES.find((role) => role === event.lane);
    if (host === undefined) continue;
    if (event.kind === "qemu.started") {
      const one: Building = { host, pid: event.pid, spans: [], open: undefined };
      all.push(one);
      latest.set(host, one);
      if (!event.argv.includes("-incoming") && !event.argv.includes("-S")) begin(one, event.at_ms);
    } else if (event.kind === "qemu.status") {
      const one = of(host, event.pid);
      if (event.running) begin(one, event.at_ms);
      // It was taken for one that runs from its beginning, and never did.
      else if (one !== undefined) one.open = undefined;
    } else if (event.kind === "qmp.event") {
      const one = of(host, event.pid);
      if (event.event === "RESUME") begin(one, stampOf(event));
      if (event.event === "STOP") close(one, stampOf(event), "stopped");
    } else if (event.kind === "guest.progress" && event.outside !== true) {
      looked(of(event.host, undefined), { at_ms: event.looked_ms ?? event.at_ms, step: event.step });
    } else if (event.kind === "qemu.exited") {
      close(latest.get(host), event.at_ms, "gone");
    } else if (event.kind === "host.gone") {
      for (const one of all) if (one.host === host) close(one, event.at_ms, "gone");
    }
  }
  for (const one of all) close(one, last_ms, "still there");
  return all.map(({ host, pid, spans }) => ({ host, pid, spans }));
}

/** A look at the step counter: one that has grown says that the vCPUs ran after the look before. */
function looked(one: Building | undefined, { at_ms, step }: { readonly at_ms: number; readonly step: number }): void {
  if (one?.open === undefined) return;
  const { look } = one.open;
  if (look !== undefined && step <= look.step) return;
  if (look !== undefined) one.open.seen_to_ms = look.at_ms;
  one.open.look = { at_ms, step };
}

/** Pairs of instances that certainly ran at one time, for OVERLAP_MS or longer. */
export function overlapsOf(instances: readonly Instance[]): readonly Overlap[] {
  const inOrder = HOST_ROLES.flatMap((role) => instances.filter(({ host }) => host === role));
  return inOrder.flatMap((one, index) =>
    inOrder.slice(index + 1).flatMap((other): Overlap[] => {
      const shared = sharedSpans(one.spans, other.spans).filter(({ from_ms, to_ms }) => to_ms - from_ms >= OVERLAP_MS);
      const [first] = shared;
      if (first === undefined) return [];
      const lengths = shared.map(({ from_ms, to_ms }) => to_ms - from_ms);
      return [
        {
          hosts: [one.host, other.host],
          pids: [one.pid, other.pid],
          ...first,
          longest_ms: Math.max(...lengths),
          sum_ms: lengths.reduce((sum, length) => sum + length, 0),
          times: shared.length,
        },
      ];
    }),
  );
}

function sharedSpans(left: readonly Span[], right: readonly Span[]): { from_ms: number; to_ms: number }[] {
  const [as, bs] = [left, right].map((spans) => [...spans].sort((a, b) => a.from_ms - b.from_ms));
  const shared: { from_ms: number; to_ms: number }[] = [];
  let [i, j] = [0, 0];
  for (;;) {
    const [a, b] = [as?.[i], bs?.[j]];
    if (a === undefined || b === undefined) return shared;
    const from_ms = Math.max(a.from_ms, b.from_ms);
    const to_ms = Math.min(a.sure_to_ms, b.sure_to_ms);
    if (to_ms > from_ms) shared.push({ from_ms, to_ms });
    if (a.sure_to_ms < b.sure_to_ms) i += 1;
    else j += 1;
  }
}
