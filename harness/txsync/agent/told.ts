import type { TimelineEventBody } from "../../base/timeline.ts";
import type { AgentState, Report } from "../core/index.ts";

/** A report of the core in the words of the timeline; undefined for what another event tells already. */
export function told(report: Report, state: AgentState): TimelineEventBody | undefined {
  switch (report.what) {
    case "lease-lost":
      return { kind: "lease.lost", peer: report.peer, silent_ms: silence(state, report.peer) };
    case "lease-regained":
      return { kind: "lease.regained", peer: report.peer };
    case "vote-asked":
      return { kind: "vote.asked", generation: report.descriptor.generation };
    case "vote-promised":
      return { kind: "vote.promised", generation: report.descriptor.generation, to: report.to };
    case "vote-refused":
      return { kind: "vote.refused", generation: report.descriptor.generation, to: report.to, why: report.why };
    case "generation-opened":
      return { kind: "generation.opened", generation: report.descriptor.generation, owner: report.descriptor.owner };
    case "generation-closed":
      return { kind: "generation.closed", generation: report.descriptor.generation };
    case "protection-on":
      return {
        kind: "protection",
        state: "on",
        why: `transaction ${report.n} of generation ${report.generation} is stored${
          report.covered ? "" : "; the host that serves the base is still needed"
        }`,
      };
    case "base-covered":
      return { kind: "base.covered" };
    case "protection-off":
      return { kind: "protection", state: "off", why: report.why };
    case "committed":
      return undefined;
    case "page-route":
      return { kind: "pages.route", route: report.route };
    case "closed-out":
      return { kind: "run.note", text: "the VM here was closed out: a newer generation has it" };
    case "lost":
      return { kind: "run.note", text: `the VM is lost: ${report.why}` };
    case "violation":
      return { kind: "violation", why: report.why };
    case "cannot-store":
      return { kind: "run.note", text: `no record can be stored here, it is tried again and again: ${report.why}` };
    case "stores-again":
      return { kind: "run.note", text: "records can be stored here again" };
    case "migration-given-up":
      return { kind: "run.note", text: `the migration is given up, and the VM goes on here: ${report.why}` };
  }
}

function silence(state: AgentState, peer: "source" | "target" | "escrow"): number {
  const heard =
    peer === "source" ? state.heardSource_ms : peer === "target" ? state.heardTarget_ms : state.heardEscrow_ms;
  return Math.round(state.now_ms - Math.max(heard, 0));
}
