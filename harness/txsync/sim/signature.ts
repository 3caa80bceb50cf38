import type { AgentState, Descriptor, Mode, VmState } from "../core/index.ts";

const MODES: Readonly<Record<Mode, number>> = { protected: 0, claim: 1, unprotected: 2, final: 3 };
const VMS: Readonly<Record<VmState, number>> = {
  none: 0,
  incoming: 1,
  loading: 2,
  running: 3,
  restoring: 4,
  ready: 5,
  gone: 6,
};

/** What kind of state an agent is in, without numbers and times: below 65,536. */
export function stateCode(s: AgentState): number {
  let code = kind(s.promised);
  code = code * 8 + kind(s.opened);
  code = code * 7 + VMS[s.vm];
  code = code * 3 + (s.candidacy === null ? 0 : s.candidacy.stage === "pre" ? 1 : 2);
  code = code * 2 + (s.persisting === null ? 0 : 1);
  code = code * 4 + (s.tx.stage === "idle" ? (s.storing === null ? 0 : 3) : s.tx.stage === "taking" ? 1 : 2);
  code = code * 2 + (s.promised.generation === s.opened.generation ? 1 : 0);
  return code;
}

function kind(d: Descriptor): number {
  return MODES[d.mode] * 2 + (d.owner === "source" ? 0 : 1);
}
