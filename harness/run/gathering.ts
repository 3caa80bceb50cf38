import type { HostRole, JsonValue } from "../base/timeline.ts";
import { type Case, type Check, type JudgedScenario, movers } from "../checks/check.ts";
import { EVIDENCE_VERSION, type Evidence } from "../checks/evidence.ts";
import { type Finding, type Gathered, gather, type Stage } from "../checks/finding.ts";
import type { View } from "../checks/view.ts";
import { stillArriving, watchProgress } from "./gather.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import type { Settled } from "./settled.ts";
import type { Timeline } from "./timeline.ts";

/** Evidence while it is gathered: what the timeline says beside it is known when it is sealed. */
export type EvidenceDraft = Omit<Evidence, "timeline">;

/** What a run lends to whoever looks for evidence in it, and what it does between the looks. */
export interface Gathering {
  readonly guest: GuestUnderTest;
  readonly timeline: Timeline;
  readonly scenario: JudgedScenario;
  readonly settled: Settled;
  readonly held_still: boolean;
  /** Output goes through a gate and is received at an edge. */
  readonly gated: boolean;
  /** What the scenario does with the VM that has arrived. */
  readonly afterwards: string | undefined;
  readonly checks: readonly Check[];
  /** All but the VM that is looked at, which is found out on the way. */
  readonly view: Omit<View, "vm">;
  /** Of two instances that move: what is seen from outside of who has succeeded whom. */
  readonly succeeded: (owner: HostRole | "none") => Promise<Pick<Evidence, "succeeded">>;
  /** Clients stop, and what is under way comes. */
  readonly quiet: (owner: HostRole | "none") => Promise<void>;
  /** The recovery lets go of everything: what is left is plain QEMU. */
  readonly letGo: () => Promise<void>;
  /** The VM that is looked at from then on, once the scenario has done with it what it does. */
  readonly movedTo: (owner: HostRole) => HostRole;
}

const NO_VM = { state: "absent", why: "there is no VM to look at" } as const;

/**
 * Looks at everything that the checks need, stage by stage. The order matters: who moves is seen while clients are at
 * work; the guest is asked about itself before its memory is looked at, for which it stands still; what the scenario does
 * with the VM comes before the recovery lets go of it, plain QEMU after that, and what came out last of all.
 */
export async function gatherEvidence(run: Gathering): Promise<EvidenceDraft> {
  const { guest, view, settled, held_still, gated, timeline } = run;
  const { owner } = settled;
  const looking = new Looks(run);
  const named = owner === "none" ? undefined : view.vms.get(owner);
  const watching = watchProgress(
    guest,
    (["source", "target"] as const).map((host) => ({ host, vm: view.vms.get(host) })),
    held_still ? "none" : owner,
    timeline.emit,
  );
  let draft: EvidenceDraft = {
    version: EVIDENCE_VERSION,
    guest: { kind: guest.kind, can: guest.can },
    held_still,
    gated,
    ...(run.afterwards === undefined ? {} : { afterwards: run.afterwards }),
    owner,
    settled: settled.how,
    ...(settled.arriving === undefined ? {} : { not_looked_at: stillArriving(settled.arriving) }),
    progress: [],
    findings: {},
  };
  // While it is watched whether a second instance moves, the owner can already be asked about itself.
  const early = named?.alive === true && !held_still ? looking.at("watched", draft, named) : undefined;
  draft = { ...draft, progress: await watching };
  // Of two instances that move one may have been succeeded: who lets output out is seen while clients are at work.
  if (gated && movers(draft).length > 1) draft = { ...draft, ...(await run.succeeded(owner)) };
  await run.quiet(owner);
  // Whoever runs is what a client would meet, whatever the manager thinks of it: that instance is looked at.
  const found = owner === "none" ? movers(draft)[0] : owner;
  const there = found === undefined ? undefined : view.vms.get(found);
  const vm = there?.alive === true ? there : undefined;
  draft = await (early ?? looking.at("watched", draft, vm)).then((findings) => with_(draft, findings));
  for (const stage of ["quiet", "afterwards"] as const)
    draft = with_(draft, await looking.at(stage, draft, vm));
  await run.letGo();
  const last = vm === undefined ? undefined : (view.vms.get(run.movedTo(vm.host.role)) ?? vm);
  for (const stage of ["let-go", "end"] as const) draft = with_(draft, await looking.at(stage, draft, last));
  return draft;
}

/** Looks at what is left when everything was taken down. */
export async function gatherLast(
  run: Pick<Gathering, "checks" | "timeline" | "scenario"> & { readonly view: Pick<View, "leftovers"> },
  draft: EvidenceDraft,
): Promise<EvidenceDraft> {
  // Of a fleet that is gone nothing else can be asked.
  return with_(draft, await new Looks({ ...run, view: run.view as View }).at("taken-down", draft, undefined));
}

/** What is known of a run that broke off. */
export function brokenOff(guest: EvidenceDraft["guest"], error: string): EvidenceDraft {
  return {
    version: EVIDENCE_VERSION,
    guest,
    held_still: false,
    gated: false,
    owner: "none",
    settled: "",
    progress: [],
    findings: {},
    error,
  };
}

function with_(draft: EvidenceDraft, findings: Evidence["findings"]): EvidenceDraft {
  return { ...draft, findings: { ...draft.findings, ...findings } };
}

class Looks {
  readonly #run: Pick<Gathering, "checks" | "timeline" | "scenario"> & { readonly view: Omit<View, "vm"> };

  constructor(run: Pick<Gathering, "checks" | "timeline" | "scenario"> & { readonly view: Omit<View, "vm"> }) {
    this.#run = run;
  }

  /** All findings of a stage that a check needs which has something to say about this run. One after the other. */
  async at(stage: Stage, draft: EvidenceDraft, vm: View["vm"]): Promise<Evidence["findings"]> {
    const { checks, timeline, scenario, view } = this.#run;
    const findings: Record<string, Gathered<JsonValue>> = {};
    const evidence = { ...draft, timeline: { events: 0, sha256: "" } };
    const seen: Case = { scenario, events: timeline.events, evidence };
    const shown = { ...view, vm: draft.not_looked_at === undefined ? vm : undefined };
    for (const needed of this.#needed(stage, checks, seen)) {
      const missing = needed.of_vm && shown.vm === undefined;
      findings[needed.name] = missing
        ? { ...NO_VM, why: draft.not_looked_at ?? NO_VM.why }
        : needed.written(await gather(() => needed.look(shown)));
    }
    return findings;
  }

  #needed(stage: Stage, checks: readonly Check[], seen: Case): readonly Finding<unknown>[] {
    const needed = new Map<string, Finding<unknown>>();
    for (const check of checks)
      for (const finding of check.needs ?? [])
        if (finding.stage === stage && couldApply(check, finding, seen)) needed.set(finding.name, finding);
    return [...needed.values()];
  }
}

/** Whether a check would have something to say once this was found: its own word is asked with what there may be. */
function couldApply(check: Check, { name }: Finding<unknown>, seen: Case): boolean {
  const pending = { state: "failed", why: "not looked at yet" } as const;
  const evidence = { ...seen.evidence, findings: { ...seen.evidence.findings, [name]: pending } };
  try {
    return check.applies({ ...seen, evidence });
  } catch {
    return true;
  }
}
