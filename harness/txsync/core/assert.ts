import { isOwner } from "./owner.ts";
import type { AgentState } from "./state.ts";

/** The core contradicts itself. The agent must stop at once, with its gate shut, and start again from its disk. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** What must hold after every step, in production too. */
export function assertState(s: AgentState): void {
  const { gate, config, promised, opened, tx } = s;
  if (gate.acked > gate.released) broken(s, "a frame arrived that was never let out");
  if (gate.released > gate.produced) broken(s, "a frame was let out that the VM has not emitted");
  if (s.persisting !== null && s.persisting.durable.descriptor.generation > promised.generation) {
    broken(s, "the disk is ahead of the promise");
  }
  if (config.role === "escrow") {
    if (s.vm !== "none" && s.vm !== "gone") broken(s, "the escrow has a VM");
    if (s.candidacy !== null) broken(s, "the escrow is a candidate");
  } else if (s.storing !== null || s.waiting !== null || s.replyAfterStore !== null) {
    broken(s, "only the escrow stores records");
  }
  if (s.candidacy?.stage === "asking" && s.candidacy.descriptor.generation > promised.generation) {
    broken(s, "a candidate asks for what it has not promised itself");
  }
  if (tx.stage === "sent" && tx.record === null) broken(s, "a record was sent that is not there");
  if (tx.since !== "base" && tx.since >= tx.next) broken(s, "the next record is relative to one that comes after it");
  if (s.vm === "ready" && gate.released > gate.committed && config.rules.readyHoldsOutput) {
    broken(s, "a restored VM that is not known to run has let something out");
  }
  if (
    s.vm === "running" &&
    config.role === "source" &&
    isOwner(s) &&
    opened.mode === "claim" &&
    config.rules.runAfterVote
  ) {
    broken(s, "the source runs the VM without the second vote");
  }
}

function broken(s: AgentState, what: string): never {
  throw new InvariantError(
    `txsync ${s.config.role}, generation ${s.promised.generation} (${s.promised.owner}, ${s.promised.mode}): ${what}`,
  );
}
