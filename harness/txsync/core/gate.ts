import type { Action } from "./action.ts";
import { isOwner, lacksBase, lettingOutFreely } from "./owner.ts";
import type { AgentState, Draft } from "./state.ts";
import { type FrameNumber, frameNumber } from "./values.ts";

/**
 * The output gate. Frames are numbered over the VM's whole life; the receiving edge drops repeats and refuses gaps.
 * In a protected generation a frame leaves when a committed transaction covers it; a claim lets nothing out; an
 * unprotected or final owner lets everything out, once its VM is known to run. When in doubt the gate is shut.
 */
export function gateLimit(s: AgentState): FrameNumber {
  const { gate, config } = s;
  if (lettingOutFreely(s)) {
    // A restored VM may be restored again until it is known to run: only what the transaction contains may leave, also of
    // one that died before that, and of which something was read late.
    const unheard = ["ready", "none", "restoring"].includes(s.vm) && config.rules.readyHoldsOutput;
    return unheard ? frameNumber(Math.min(gate.committed, gate.produced)) : gate.produced;
  }
  if (!isOwner(s)) return gate.released;
  if (s.opened.mode !== "protected") return gate.released;
  if (config.durability === "host" && !s.baseCovered) return gate.released;
  if (lacksBase(s) || (s.protect && s.base !== "held" && s.base !== "following")) return gate.released;
  const covered = config.rules.gateWaitsForCommit ? gate.committed : takenMark(s);
  return frameNumber(Math.min(covered, gate.produced));
}

function takenMark(s: AgentState): FrameNumber {
  return frameNumber(Math.max(s.gate.committed, s.tx.record?.mark ?? 0));
}

/** Lets out what may leave and has not left yet. */
export function openGate(s: Draft, out: Action[]): void {
  const limit = gateLimit(s);
  if (limit <= s.gate.released) return;
  out.push({
    kind: "releaseOutput",
    generation: s.opened.generation,
    from: frameNumber(s.gate.released + 1),
    to: limit,
  });
  s.gate = { ...s.gate, released: limit };
}

/** The edge has everything up to `upTo`; with `again`, it lost what came after and gets it once more. */
export function edgeHas(s: Draft, upTo: FrameNumber, again: boolean): void {
  const { gate } = s;
  // The edge may know more than a VM restored from an older transaction has emitted; never below, never above it.
  const acked = frameNumber(Math.min(Math.max(gate.acked, upTo), gate.produced));
  const released = frameNumber(again && s.config.rules.letOutAgain ? acked : Math.max(gate.released, acked));
  s.gate = { ...gate, acked, released };
}
