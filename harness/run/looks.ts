import type { GuestName } from "../base/run-record.ts";
import type { JsonValue, TimelineEvent } from "../base/timeline.ts";
import type { Check } from "../checks/check.ts";
import { EVIDENCE_VERSION, type Evidence } from "../checks/evidence.ts";
import { type Finding, type Gathered, gather, type Stage } from "../checks/finding.ts";
import type { LeftoverFindings } from "../checks/nothing-left.ts";
import type { View } from "../checks/view.ts";

/** Evidence while it is gathered: what the timeline says beside it is known when it is sealed. */
export type EvidenceDraft = Omit<Evidence, "timeline">;

const NO_VM = "there is no VM to look at";

/** Evidence of a run that broke off: nothing was seen to its end. */
export function brokenOff(guest: GuestName, error: string): EvidenceDraft {
  return {
    version: EVIDENCE_VERSION,
    guest: { kind: guest, can: [] },
    held_still: false,
    gated: false,
    owner: "none",
    settled: "",
    progress: [],
    findings: {},
    error,
  };
}

/** Runs the looks of one stage that some check needs which has something to say about this run, one after the other. */
export async function lookAt(
  stage: Stage,
  checks: readonly Check[],
  draft: EvidenceDraft,
  events: readonly TimelineEvent[],
  view: View,
): Promise<EvidenceDraft> {
  const findings: Record<string, Gathered<JsonValue>> = {};
  // Of what still lacks pages nothing that is found says that anything is wrong.
  const vm = draft.not_looked_at === undefined ? view.vm : undefined;
  for (const needed of neededAt(stage, checks, draft, events)) {
    findings[needed.name] =
      needed.of_vm && vm === undefined
        ? { state: "absent", why: draft.not_looked_at ?? NO_VM }
        : needed.written(await gather(() => needed.look({ ...view, vm })));
  }
  return withFindings(draft, findings);
}

/** Looks at what is left when everything was taken down. */
export async function lookWhenTakenDown(
  checks: readonly Check[],
  draft: EvidenceDraft,
  events: readonly TimelineEvent[],
  leftovers: () => Promise<LeftoverFindings | undefined>,
): Promise<EvidenceDraft> {
  // Nothing else of a run is there any more to be shown.
  const view = { leftovers } as View;
  return await lookAt("taken-down", checks, draft, events, view);
}

/** The same evidence with more that was found out. */
export function withFindings(draft: EvidenceDraft, findings: Evidence["findings"]): EvidenceDraft {
  return { ...draft, findings: { ...draft.findings, ...findings } };
}

function neededAt(
  stage: Stage,
  checks: readonly Check[],
  draft: EvidenceDraft,
  events: readonly TimelineEvent[],
): readonly Finding<unknown>[] {
  const needed = new Map<string, Finding<unknown>>();
  for (const check of checks)
    for (const finding of check.needs ?? [])
      if (finding.stage === stage && couldApply(check, finding, draft, events)) needed.set(finding.name, finding);
  return [...needed.values()];
}

/** Whether a check would have something to say once this was found: its own word is asked with what there may be. */
function couldApply(
  check: Check,
  { name }: Finding<unknown>,
  draft: EvidenceDraft,
  events: readonly TimelineEvent[],
): boolean {
  const pending = { state: "failed", why: "not looked at yet" } as const;
  const evidence = { ...withFindings(draft, { [name]: pending }), timeline: { events: 0, sha256: "" } };
  try {
    return check.applies({ scenario: { faults: [] }, events, evidence });
  } catch {
    return true;
  }
}
