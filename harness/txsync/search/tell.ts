import type { Message } from "../core/index.ts";
import { after, begin, isFault, type Move, ordinary } from "./moves.ts";
import { isRuleBroken } from "./search.ts";
import type { Pending, Setup, World } from "./world.ts";

/** A way as people read it: one move a line, with a mark before those that are out of order. */
export function tell(setup: Setup, moves: readonly Move[]): readonly string[] {
  const lines = [`set up: ${setup.name}`];
  let world = begin(setup);
  for (const move of moves) {
    lines.push(`${isOutOfOrder(world, move) ? "!" : " "} ${describe(world, move)}`);
    try {
      const next = after(world, move);
      lines.push(...changes(world, next));
      world = next;
    } catch (thrown) {
      if (!isRuleBroken(thrown)) throw thrown;
      lines.push(`  ${thrown.message}`);
      break;
    }
  }
  return lines;
}

/** Whether the move is one that does not happen by itself there. */
export function isOutOfOrder(world: World, move: Move): boolean {
  if (isFault(move)) return true;
  if (move.move === "rest") return false;
  const usual = ordinary(world);
  return usual === null || JSON.stringify(usual) !== JSON.stringify(move);
}

/** What can be seen of the agents' states has changed. */
function changes(before: World, now: World): string[] {
  const lines: string[] = [];
  for (const role of ["source", "target", "escrow"] as const) {
    const [was, is] = [before.hosts[role].state, now.hosts[role].state];
    if (was.opened !== is.opened && was.opened.generation !== is.opened.generation) {
      const { generation, owner, mode } = is.opened;
      lines.push(`      ${role}: generation ${generation} is open: ${owner}, ${mode}`);
    }
    if (was.vm !== is.vm) lines.push(`      ${role}: its VM is ${is.vm}`);
    if (was.gate.released < is.gate.released) lines.push(`      ${role}: output up to ${is.gate.released} is let out`);
    const [before_n, n] = [was.log?.last, is.log?.last];
    if (role === "escrow" && n !== undefined && n !== before_n) lines.push(`      escrow: record ${n} is stored`);
  }
  return lines;
}

function describe(world: World, move: Move): string {
  switch (move.move) {
    case "next":
      return comesTo(world.pending[move.at]);
    case "beat":
      return `${move.role}'s timer fires`;
    case "tick":
      return "the guest works, pages move";
    case "rest":
      return "all has come to rest: what can end ends; where nothing can, the VM has to show that it runs, once";
    case "hold":
      return `late from here on: ${nameOf(world.pending[move.at])}`;
    case "repeat":
      return `${comesTo(world.pending[move.at])}, and will come once more, late`;
    case "release":
      return `at last: ${comesTo(world.pending[move.at])}`;
    case "lose":
      return `lost: ${nameOf(world.pending[move.at])}`;
    case "fail":
      return `fails: ${nameOf(world.pending[move.at])}`;
    case "work":
      return `the guest on ${move.role} works`;
    case "thaw":
      return `${move.role}'s host goes on`;
    case "back":
      return `${move.role}'s agent is started again`;
    case "heal":
      return "cut links are whole again";
    case "disk":
      return "the escrow's disk has room again";
    case "track":
      return "changes can be tracked again";
    case "run":
      return "QEMUs can be let go again";
    case "cut":
      return `the link ${move.pair} is cut${move.direction === "both" ? "" : `, ${move.direction} only`}`;
    case "crash":
      return `${move.role}'s agent dies${fate(move)}`;
    case "reboot":
      return `${move.role}'s host loses power${fate(move)}`;
    case "kill":
      return `${move.role}'s host is gone for good`;
    case "freeze":
      return `${move.role}'s host stands still`;
    case "qemu":
      return `${move.role}'s QEMU dies`;
    case "tail":
      return "the escrow's agent dies, and its last record is gone when it is back";
    case "full":
      return "the escrow's disk is full";
    case "untrack":
      return "nobody can say any more which pages change";
    case "runless":
      return "no QEMU can be let go";
  }
}

function fate({ kept, back }: { readonly kept: boolean; readonly back: boolean }): string {
  const what = kept ? ", what it was writing is there" : "";
  return `${what}${back ? ", and is back at once" : ""}`;
}

function comesTo(pending: Pending | undefined): string {
  if (pending === undefined) return "nothing";
  if (pending.kind === "message") return `${nameOf(pending)} comes`;
  return nameOf(pending);
}

function nameOf(pending: Pending | undefined): string {
  if (pending === undefined) return "nothing";
  const { role } = pending;
  switch (pending.kind) {
    case "message":
      return `${pending.from} to ${role}: ${nameOfMessage(pending.message)}`;
    case "persist":
      return `${role}'s promise is on disk`;
    case "capture":
      return "the source's QEMU gives its package";
    case "load":
      return "the target's QEMU has loaded the package";
    case "take":
      return `${role}'s transaction is taken`;
    case "store":
      return `record ${pending.header.n} of generation ${pending.header.generation} is written`;
    case "restore":
      return `${role}'s QEMU has restored transaction ${pending.action.n}`;
    case "ran":
      return `${role}'s agent learns that its restored VM runs`;
    case "out":
      return `output ${pending.from} to ${pending.from + pending.frames.length - 1} of ${role} arrives`;
    case "ack":
      return `${role} hears that output up to ${pending.upTo} has arrived`;
    case "gone":
      return `${role}'s agent learns that its QEMU is dead`;
  }
}

function nameOfMessage(message: Message): string {
  switch (message.kind) {
    case "ask":
    case "promise":
    case "refuse": {
      const { generation, owner, mode } = message.descriptor;
      const what = `${message.pre ? "pre-" : ""}${message.kind} for generation ${generation} (${owner}, ${mode})`;
      return message.kind === "refuse" ? `${what}: ${message.why}` : what;
    }
    case "append":
    case "appended":
      return `${message.kind} ${message.n} of generation ${message.generation}`;
    case "append-refused":
      return `${message.kind} ${message.n} of generation ${message.generation}: ${message.why}`;
    default:
      return message.kind;
  }
}
