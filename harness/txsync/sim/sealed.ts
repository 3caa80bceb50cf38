import type { Action, AgentState, Durable, Role } from "../core/index.ts";
import { Violation } from "./oracle.ts";

/** What is looked at of a host. */
export interface Bound {
  readonly role: Role;
  readonly state: AgentState;
  readonly durable: Durable | null;
  /** On its way to the disk: in force already. */
  readonly writing: Durable | null;
  readonly vm: { readonly running: boolean } | null;
}

/**
 * What binds each agent by itself, whether or not harm comes of it: the rules that make a generation one owner's. Said of
 * what an agent does, and not of what it thinks.
 */

/** A promise binds for ever: no lower number after it, and its own number to nobody else, unless it was opened so. */
export function mayPromise({ role, state, durable, writing }: Bound, { descriptor: d }: Durable): void {
  const before = (writing ?? durable)?.descriptor;
  if (before === undefined || d.generation > before.generation) return;
  if (d.generation < before.generation)
    throw new Violation(1, `${role} promises generation ${d.generation}, and has promised ${before.generation}`);
  if (d.owner === before.owner && d.mode === before.mode) return;
  const { opened } = state;
  if (opened.generation === d.generation && opened.owner === d.owner && opened.mode === d.mode) return;
  throw new Violation(1, `${role} promises generation ${d.generation} twice: ${before.owner}'s, and ${d.owner}'s`);
}

/** Who has promised a newer generation, be it to itself, is sealed in the one before; and behind a claim nothing leaves. */
export function mayLetOut(
  { role, state, durable, writing }: Bound,
  { generation }: Extract<Action, { kind: "releaseOutput" }>,
): void {
  const promised = (writing ?? durable)?.descriptor.generation ?? 0;
  if (generation < promised)
    throw new Violation(1, `${role} lets output out in generation ${generation}, and has promised ${promised}`);
  if (state.opened.mode === "claim" && state.opened.generation === generation)
    throw new Violation(2, `${role} lets output out behind its claim`);
}

/**
 * Who restores or runs a VM has opened the newest generation that it has promised, itself, in this life. And what is known to
 * have run under a vote that let its output out is not restored again.
 */
export function mayWork({ role, state, durable, writing }: Bound, action: Action): void {
  const claims = action.kind === "send" && action.message.kind === "ask" && action.message.descriptor.mode === "claim";
  if (claims && state.ranFree) throw new Violation(3, `${role} would restore a VM that is known to have run freely`);
  if (action.kind !== "startRestore" && action.kind !== "runQemu") return;
  const { opened, begun, config } = state;
  const promised = (writing ?? durable)?.descriptor.generation ?? 0;
  const owns = opened.owner === role && opened.generation === promised && begun === opened.generation;
  if (!owns && config.rules.restartOpensGeneration)
    throw new Violation(
      3,
      `${role} is about to ${action.kind} in generation ${opened.generation}, which it does not own`,
    );
}

/** Of a VM that is another's for good nothing goes on where it was. */
export function mayStand({ role, state, vm }: Bound): void {
  const { opened } = state;
  if (vm?.running !== true || opened.mode !== "final" || opened.generation === 0 || opened.owner === role) return;
  throw new Violation(1, `the VM goes on at the ${role}, which knows that it is the ${opened.owner}'s for good`);
}

/**
 * What an agent counts as let out it has let out itself in this life, or knows to have arrived; and of a restored VM that
 * died before it was known to run nothing counts, for it is made again.
 */
export function mayCount({ role, state }: Bound, let_out: number): void {
  const { released, acked, produced, committed } = state.gate;
  const { opened, vm } = state;
  const again = opened.mode === "final" && opened.owner === role && opened.generation > 0;
  if (again && (vm === "none" || vm === "restoring") && produced > committed)
    throw new Violation(2, `${role} counts frame ${produced}, of a VM that is restored again from frame ${committed}`);
  if (released > Math.max(acked, let_out))
    throw new Violation(2, `${role} counts frame ${released} as let out, and has let out no more than ${let_out}`);
}
