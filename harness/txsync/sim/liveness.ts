import { type Descriptor, GENESIS, isFree, isOwner, type Role } from "../core/index.ts";
import type { Host } from "./hosts.ts";
import { PAGES } from "./memory.ts";
import type { ProtectPlan } from "./schedule.ts";
import type { Body } from "./storage.ts";

type SeenHost = Pick<
  Host,
  "role" | "up" | "agentUp" | "state" | "durable" | "vm" | "package" | "hasBase" | "baseId" | "heardRunning"
> & { readonly forgot?: boolean } & { readonly log: readonly Pick<Body, "header">[] };

/** What has to be known of three hosts, to say whether their VM must run. */
export interface Ending {
  readonly hosts: Readonly<Record<Role, SeenHost>>;
  readonly network: { canTalk(a: Role, b: Role): boolean };
  readonly vm: {
    readonly baseId: number;
    readonly pagesTarget: number;
    readonly pagesEscrow: number;
    readonly drains: boolean;
    readonly willFollow: boolean;
    hasBase(host: Pick<Host, "role" | "up" | "hasBase" | "baseId">): boolean;
  };
  readonly schedule: { readonly protect?: ProtectPlan };
}

/** Must the VM run at the end? Says no where the loss is one that the protocol allows. */
export function mustBeLive(cluster: Ending): boolean {
  const { source, target, escrow } = cluster.hosts;
  const st = cluster.network.canTalk("source", "target");
  // One that was not let in is nobody.
  const there = escrow.state.letIn;
  const se = there && cluster.network.canTalk("source", "escrow");
  const te = there && cluster.network.canTalk("target", "escrow");
  const promisedBy = (host: SeenHost): Descriptor =>
    host.agentUp ? host.state.promised : (host.durable?.descriptor ?? GENESIS);
  // Before switchover the VM lives and dies with the source.
  const { vm, schedule } = cluster;
  const hasBase = (host: SeenHost): boolean => vm.hasBase(host) || (vm.baseId !== 0 && vm.pagesEscrow === 0);
  const holds = schedule.protect?.unprotected === "hold";
  if (promisedBy(source).generation === 0) return source.up && source.agentUp && source.vm !== null;
  const valid = (d: Descriptor): boolean => {
    const last = escrow.log[escrow.log.length - 1];
    return last === undefined ? d.validFrom <= 1 : last.header.generation >= d.validFrom;
  };
  // A free generation that somebody else has promised may have been opened: its owner or nobody.
  let free: Descriptor | null = null;
  for (const host of [source, target, escrow]) {
    const d = promisedBy(host);
    if (!isFree(d) || d.generation === 0) continue;
    // Promised to itself alone, and never opened: it binds nobody else.
    if (d.owner === host.role && (!host.agentUp || !host.state.everFree)) continue;
    if (free === null || d.generation > free.generation) free = d;
  }
  for (const host of [source, target, escrow]) {
    const d = host.state.opened;
    if (isFree(d) && d.generation > 0 && (free === null || d.generation > free.generation)) free = d;
  }
  const overtaken =
    free?.mode === "unprotected" && promisedBy(escrow).generation > free.generation && valid(promisedBy(escrow));
  if (free !== null && !overtaken) {
    const owner = cluster.hosts[free.owner];
    const again = owner.agentUp && (isOwner(owner.state) || !owner.state.everFree);
    if (owner.vm === null && again && free.basis !== null && !owner.heardRunning) {
      // It was never known to run, so nobody has seen anything of it: it is restored from the same again.
      const logged =
        escrow.log.some(({ header }) => header.n === free?.basis?.n) || (source.package !== null && free.basis.n === 0);
      if (owner.role === "source") return se && hasBase(source) && logged && valid(promisedBy(escrow));
      // One that lost its memory has to think that it ran.
      return !owner.forgot && te && !se && !st && vm.pagesEscrow === 0 && logged && valid(promisedBy(escrow));
    }
    if (owner.vm === null || !owner.agentUp) return false;
    if (isOwner(owner.state) && isFree(owner.state.opened)) return pagesOk(cluster, owner.role);
    // On its way to a newer generation; where output is to wait for the escrow that is one which only the escrow can give.
    const escrowed = owner.role === "target" ? te : se;
    return (holds ? escrowed : st || escrowed) && pagesOk(cluster, owner.role);
  }
  // It runs, and its output waits for the escrow, as it was asked to: nobody who hears it takes it over for that.
  const waits = (host: SeenHost, escrowed: boolean): boolean =>
    holds && st && !escrowed && host.agentUp && host.vm !== null && promisedBy(host).owner === host.role;
  if (waits(target, te) || waits(source, se)) return false;
  if (target.agentUp && target.vm !== null && (holds ? te : st || te)) return pagesOk(cluster, "target");
  const stayed = ["alone", "before"].includes(schedule.protect?.when ?? "no");
  if (stayed && source.agentUp && source.vm !== null && (holds ? se : st || se)) return true;
  if (se && hasBase(source)) {
    const last = escrow.log[escrow.log.length - 1];
    return valid(promisedBy(escrow)) && (last !== undefined || source.package !== null);
  }
  // The source may be heard: where its VM is dead, and the escrow is not heard there, nobody but the target can make it.
  const nobody = !st || (source.agentUp && source.vm === null);
  if (te && !se && nobody && cluster.vm.pagesEscrow === 0 && escrow.log.length > 0) return valid(promisedBy(escrow));
  return false;
}

function pagesOk(cluster: Ending, role: Role): boolean {
  const { network, vm } = cluster;
  if (role !== "target" || !vm.drains || vm.pagesTarget >= PAGES) return true;
  const { hasBase } = cluster.hosts.source;
  if (hasBase && network.canTalk("source", "target")) return true;
  if (!network.canTalk("escrow", "target")) return false;
  return (hasBase && network.canTalk("source", "escrow")) || (vm.willFollow && vm.pagesTarget >= vm.pagesEscrow);
}
