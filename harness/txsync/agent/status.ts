import * as z from "zod";
import { type AgentState, hears, isOwner, type Role } from "../core/index.ts";
import type { VmSlot } from "./vm-slot.ts";

const count = z.number();
const descriptor = z.looseObject({ generation: count, owner: z.string(), mode: z.string() });

/** What an agent says of itself to whoever manages it. */
export const statusSchema = z.looseObject({
  phase: z.string(),
  vm: z.string(),
  owner: z.boolean(),
  opened: descriptor,
  promised: descriptor,
  finished: z.boolean(),
  /** Escrow: it has the place that it came for; of the others always true. */
  letIn: z.boolean(),
  /** Protection is wanted; what is known of its base; and whether it is on. */
  protect: z.boolean(),
  base: z.string(),
  protected: z.boolean(),
  allPages: z.boolean(),
  route: z.string(),
  log: z.looseObject({ last: count, generation: count }).nullable(),
  committed: count.nullable(),
  qemu: count.nullable(),
  folder: z.string().nullable(),
  migration: z.string().nullable(),
  hears: z.array(z.string()),
});
export type AgentStatus = z.infer<typeof statusSchema>;

export function statusOf(state: AgentState, slot: Pick<VmSlot, "vm">, peers: readonly Role[]): AgentStatus {
  const { phase, vm, opened, promised, finished, letIn, allPages, route, log, tx } = state;
  return {
    phase,
    vm,
    owner: isOwner(state),
    opened: { ...opened },
    promised: { ...promised },
    finished,
    letIn,
    protect: state.protect,
    base: state.base,
    protected: tx.protectedIn === opened.generation && isOwner(state),
    allPages,
    route,
    log: log === null ? null : { ...log },
    committed: tx.committed,
    qemu: slot.vm?.pid ?? null,
    folder: slot.vm?.folder ?? null,
    migration: slot.vm?.migration ?? null,
    hears: peers.filter((peer) => hears(state, peer)),
  };
}
