import type { HostRole } from "../../base/timeline.ts";
import type { Settled } from "../settled.ts";
import type { AgentStatus } from "./agent-client.ts";

/** What is known of the agents at one look; undefined: it does not answer, or its host is gone. */
export type Statuses = Readonly<Record<HostRole, AgentStatus | undefined>>;

/**
 * Nothing has a VM for so long: nobody will have one any more. Between a VM that is gone and one that somebody restores
 * lie leases and votes, which know nothing of the guest's size (who restores is said to have one).
 */
export function nobodyAfter_ms(lease_ms: number): number {
  return 4_000 + 4 * lease_ms;
}

/**
 * Where the VM is, as the agents say; undefined while they are still at it. A pure function of one look and of whether
 * no look has shown a VM for too long: the harness only waits, it takes no decision for anybody.
 */
export function settledAs(statuses: Statuses, nobody: boolean): Settled | undefined {
  for (const role of ["source", "target"] as const) {
    const agent = statuses[role];
    if (agent?.phase === "lost") return { owner: "none", how: `the agent on ${role} says that the VM is lost` };
    if (agent === undefined || !agent.owner || agent.vm !== "running") continue;
    if (isProtectedForGood(role, agent))
      return {
        owner: role,
        how: `generation ${agent.opened.generation}: protected on ${role}, for as long as it runs`,
      };
    if (agent.opened.mode !== "final" || agent.phase !== "completed") continue;
    if (agent.opened.generation === 0) continue;
    if (role === "target" && agent.migration !== "completed" && agent.opened.basis === null) continue;
    const restored = agent.opened.basis !== null;
    return {
      owner: role,
      how: restored
        ? `generation ${agent.opened.generation}: restored on ${role} from transaction ${agent.opened.basis?.n ?? "?"}`
        : `generation ${agent.opened.generation}: handed off to ${role}`,
    };
  }
  if (nobody) return { owner: "none", how: "no agent has a VM, and none has promised one" };
  return undefined;
}

/**
 * The VM is whole, its protection is on and meant to last: there is nothing more to wait for. One that is cut off from the
 * escrow says the same, and knows nothing of who takes its VM over meanwhile.
 */
export function isProtectedForGood(role: HostRole, agent: AgentStatus): boolean {
  if (!agent.protect || !agent.protected || !agent.hears.includes("escrow")) return false;
  return role === "source" || (agent.phase === "completed" && ["", "completed"].includes(agent.migration ?? ""));
}

/** Whether it was settled by a host's word that it protects the VM, which another one may have succeeded by now. */
export function isKept(statuses: Statuses, { owner }: Settled): boolean {
  if (owner === "none") return false;
  const agent = statuses[owner];
  return agent !== undefined && isProtectedForGood(owner, agent);
}

/** A VM that is whole, and that nothing protects though that is wanted. */
export interface Unprotected {
  readonly role: HostRole;
  readonly generation: number;
  /** What its protection waits for, as the end of a sentence. */
  readonly lacks: string;
  /** That cannot come any more: a host that it takes is dead, and stays so. */
  readonly for_good: boolean;
}

/**
 * Whether a VM runs whole where it is, and is to be protected and is not: the agents go on trying, and who looks may say
 * what is missing. @param up whether a host lives
 */
export function goesOnUnprotected(statuses: Statuses, up: (role: HostRole) => boolean): Unprotected | undefined {
  for (const [role, other] of [
    ["source", "target"],
    ["target", "source"],
  ] as const) {
    const agent = statuses[role];
    if (agent === undefined || !agent.owner || agent.vm !== "running" || !agent.protect || agent.protected) continue;
    if (role === "target" && !agent.allPages && agent.opened.basis === null) continue;
    const said = (lacks: string, for_good: boolean): Unprotected => ({
      role,
      generation: agent.opened.generation,
      lacks,
      for_good,
    });
    const { escrow } = statuses;
    if (!up("escrow")) return said("the escrow's host is dead", true);
    if (escrow?.letIn === false) {
      const has_to = `another escrow has come, and is let in when it has heard the same of source and target`;
      return up(other)
        ? said(`${has_to}`, false)
        : said(`${has_to}; the ${other}'s host is dead, and it never will`, true);
    }
    if (escrow === undefined || !agent.hears.includes("escrow")) return said("the escrow is not heard", false);
    return said("the escrow has no base and no record of it yet", false);
  }
  return undefined;
}

/** What QEMU says of a migration that it is not in. */
const NO_MIGRATION: readonly string[] = ["", "none", "cancelled", "failed"];

/**
 * The source has its VM, as before the migration: the migration was given up. Where QEMU had switched over by then it is
 * ended, and the VM goes on from its package in another one: until that one is there, nothing has been given up yet.
 */
export function givenUp({ source }: Statuses): boolean {
  if (source?.phase !== "idle" || source.vm !== "running" || source.opened.generation !== 0) return false;
  return !source.protect && source.qemu !== null && NO_MIGRATION.includes(source.migration ?? "");
}

/** The VM is on the source, protected, and perhaps on its way. */
export function isProtectedAtSource({ source }: Statuses): boolean {
  return source?.owner === true && source.vm === "running" && isProtectedForGood("source", source);
}

/** Whether anybody has a VM, or is making one. */
export function somebodyHas(statuses: Statuses): boolean {
  return (["source", "target"] as const).some((role) => {
    const vm = statuses[role]?.vm;
    return vm === "running" || vm === "loading" || vm === "restoring" || vm === "ready";
  });
}

/** The target runs, and reaches nobody who has the pages that it lacks. */
export function waitsForPages({ target }: Statuses): boolean {
  if (target?.vm !== "running" || target.allPages || target.route !== "none") return false;
  // One that was restored here and is to be protected again lacks nothing, though nobody has said so yet.
  return !target.protect || target.opened.basis === null;
}

/** Whether every agent that answers is done: the owner runs, the others have let go of what they kept for it. */
export function tidy(statuses: Statuses, owner: HostRole): boolean {
  const owned = statuses[owner];
  // They keep what they have for as long as the VM is protected.
  if (owned !== undefined && isProtectedForGood(owner, owned)) return true;
  return (["source", "target", "escrow"] as const).every((role) => {
    const agent = statuses[role];
    // Who does not hear the owner keeps what it has until it does.
    return role === owner || agent === undefined || agent.finished || !agent.hears.includes(owner);
  });
}

/** What the agents are at, in words, for whoever waits for them. */
export function waitsFor(statuses: Statuses, unprotected?: Unprotected): string {
  const { source, target } = statuses;
  if (unprotected !== undefined) return `the VM on ${unprotected.role} to be protected (${unprotected.lacks})`;
  if (source?.vm === "restoring" || target?.vm === "restoring") return "the VM to be restored";
  if (target?.vm === "running" && !target.allPages) return "the target to have every page";
  if (target?.vm === "running") return "the VM to be handed off";
  if (source?.vm === "running") return "the migration to switch over";
  return somebodyHas(statuses) ? "the VM to run" : "somebody to have the VM";
}
