import type { HostRole, JsonValue, TimelineEvent, TimelineEventBody } from "../../base/timeline.ts";
import type { Case, FaultNamed } from "../check.ts";
import { EVIDENCE_VERSION, type Evidence, type ProgressSample, timelineDigest } from "../evidence.ts";
import type { Gathered } from "../finding.ts";

/** Runs as they are written down, for tests of whoever judges them. */

export const ABSENT = { state: "absent", why: "not asked" } as const;
export const stands: ProgressSample = { host: "source", before: 7, after: 7, watched_ms: 500 };
export const moves: ProgressSample = { host: "target", before: 7, after: 9, watched_ms: 50 };
export const unreadable: ProgressSample = { host: "target", watched_ms: 6_000, failed: "the shell on target is gone" };

/** What the run found out, as it stands in evidence.json. */
export function got(value: object): Gathered<JsonValue> {
  return { state: "got", value: JSON.parse(JSON.stringify(value)) };
}

export function at(at_ms: number, lane: TimelineEvent["lane"], body: TimelineEventBody): TimelineEvent {
  return { at_ms, lane, ...body };
}

export function qemu(at_ms: number, host: HostRole, pid: number, ...argv: string[]): TimelineEvent {
  return at(at_ms, host, { kind: "qemu.started", pid, version: "10.0", argv });
}

/** STOP or RESUME, told `late_ms` after it was stamped. */
export function vcpus(
  at_ms: number,
  host: HostRole,
  pid: number,
  event: "STOP" | "RESUME",
  late_ms = 0,
): TimelineEvent {
  return at(at_ms + late_ms, host, { kind: "qmp.event", event, data: {}, pid, qemu_ms: EPOCH_MS + at_ms });
}
const EPOCH_MS = 1_700_000_000_000;

/** An append of the client as the timeline tells it: asked at one time, acknowledged at the other. */
export function appended(op: number, index: number, invoked_ms: number, ended_ms = invoked_ms + 1): TimelineEvent[] {
  const op_of = { kind: "client.op", op, name: "append", host: "source", value: op * 10 } as const;
  return [
    at(invoked_ms, "client", { ...op_of, phase: "invoked" }),
    at(ended_ms, "client", { ...op_of, phase: "acknowledged", index }),
  ];
}

/** The ledger's entries as they would be with those appends in that order. */
export function entries(...ops: number[]): Gathered<JsonValue> {
  return got({ client: 1, entries: ops.map((op) => [op * 10, 1, op]) });
}

const OWNER = { how: "the migration completed", owner: "target" } as const;

/** A migration by stock QEMU that went well, with three appends. */
export const WELL_EVENTS: readonly TimelineEvent[] = [
  at(0, "run", { kind: "run.started", scenario: "no-fault", recovery: "stock", seed: 7 }),
  qemu(10, "source", 1),
  qemu(20, "target", 2, "-incoming", "defer"),
  ...appended(1, 0, 100),
  ...appended(2, 1, 200),
  vcpus(1_000, "source", 1, "STOP"),
  vcpus(1_005, "target", 2, "RESUME"),
  ...appended(3, 2, 1_200),
  at(3_000, "run", { kind: "run.settled", ...OWNER }),
];

const WELL_FINDINGS: Evidence["findings"] = {
  memory: got({ step: 9, pages_checked: 100, bad_count: 0, bad: [] }),
  guest: got({ pages_checked: 100, bad_count: 0, errors: 0, first: "none" }),
  ledger: entries(1, 2, 3),
  again: got({ from: "target", to: "source", steps_before: 9, steps_after: 12 }),
  monitors: got([{ host: "target", answered_ms: 1, status: "running", migration: "completed" }]),
  leftovers: got({ containers: [], networks: [] }),
};

export interface CaseChange {
  readonly evidence?: Partial<Omit<Evidence, "findings">>;
  readonly findings?: Evidence["findings"];
  readonly events?: readonly TimelineEvent[];
  readonly faults?: readonly FaultNamed[];
}

/** A run that came out well, but for what is changed. */
export function makeCase({ evidence, findings, events = WELL_EVENTS, faults = [] }: CaseChange = {}): Case {
  return {
    scenario: { faults },
    events,
    evidence: {
      version: EVIDENCE_VERSION,
      timeline: timelineDigest(events),
      guest: { kind: "integrity", can: ["memory", "ledger", "self-check"] },
      held_still: false,
      gated: false,
      owner: OWNER.owner,
      settled: OWNER.how,
      progress: [stands, moves],
      ...evidence,
      findings: { ...WELL_FINDINGS, ...findings },
    },
  };
}
