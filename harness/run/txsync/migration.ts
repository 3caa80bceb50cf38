import { messageOf } from "../../base/errors.ts";
import { Patience, whileMoving } from "../../base/patience.ts";
import type { HostRole } from "../../base/timeline.ts";
import { HOST_ROLES } from "../../base/timeline.ts";
import { pause } from "../../base/wait.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import { Movement } from "../movement.ts";
import { givenUpAt, type Settled } from "../settled.ts";
import type { Timeline } from "../timeline.ts";
import type { AgentStatus } from "./agent-client.ts";
import type { Agents } from "./agents.ts";
import {
  givenUp,
  goesOnUnprotected,
  isKept,
  isProtectedAtSource,
  nobodyAfter_ms,
  type Statuses,
  settledAs,
  somebodyHas,
  tidy,
  type Unprotected,
  waitsFor,
  waitsForPages,
} from "./settling.ts";

export interface TxsyncOptions {
  readonly fleet: StartedFleet;
  readonly agents: Agents;
  readonly memory_bytes: number;
  readonly bytes_per_s: number;
  readonly timeline: Timeline;
  /** The agents are given up once nothing has moved for so long. */
  readonly patience_ms: number;
  readonly lease_ms: number;
  /** The source's agent is asked to protect the VM where it runs: and not to migrate it, or before that. */
  readonly protect?: "no" | "alone" | "first";
  /** Whether any fault has struck by now. */
  readonly struck: () => boolean;
  /** A fresh QEMU on the target that waits for a migration. */
  readonly prepareTarget: () => Promise<unknown>;
  /** Whether every fault of the scenario has struck, and is healed where it is to be, or never will be. */
  readonly faultsOver: () => boolean;
  /** Whether a fault is to strike whose moment has come, and only its offset is waited for. */
  readonly due: () => boolean;
  /** Whether something that was broken is still to be healed. */
  readonly healing: () => boolean;
}

const LOOK_EVERY_MS = 20;
/** How often a migration is asked for before the harness says that it was given up. */
const TRIES = 3;
/** For an agent to say how it is: one line, whatever the guest's size. */
const ANSWER_MS = 400;
/** Time for the source's agent to begin with what it was asked for: one message. */
const BEGIN_MS = 2_000;
/** How often it is looked how much the hosts have in memory. */
const ROOM_EVERY_MS = 1_000;
/** Less than this is no room for anything that an agent or a QEMU would write. */
const ROOM_LEAST_BYTES = 64 * 1024;
/** A migration that was given up is looked at for a while: a VM that runs may still be taken away again. */
const GIVEN_UP_MS = 300;
/** For an agent that has come back to reach the others, besides leases. */
const HEARS_MS = 1_000;

/** An owner that was cut off hears the others until their leases have run out, and then says so. */
const KEPT_LEASES = 2;

const NOBODY_HAS = "the target waits for pages that nobody has whom it reaches";

const NEVER_COVERED = ": the source was needed until escrow and target together had the base, and they never did";

/**
 * Asks the source's agent to migrate, and waits until the agents say where the VM is, for as long as something moves. It
 * tells them nothing else.
 */
export class TxsyncMigration {
  readonly #options: TxsyncOptions;
  /** Whether an agent told that the source's host may be lost: for the words of a verdict only. */
  #covered = false;
  /** What each host's memory had, at most, since the migration was asked for last. */
  readonly #most_mib = new Map<HostRole, number>();
  /** When an agent that was silent answered again. */
  readonly #back_ms = new Map<HostRole, number>();
  last: Statuses = { source: undefined, target: undefined, escrow: undefined };

  constructor(options: TxsyncOptions) {
    this.#options = options;
  }

  async run(): Promise<Settled> {
    const { timeline, patience_ms } = this.#options;
    const patience = new Patience(patience_ms, timeline.now_ms);
    const movement = new Movement(patience);
    const stop = timeline.onEvent((event) => {
      movement.see(event);
      if (event.kind === "base.covered") this.#covered = true;
    });
    const over = new AbortController();
    const watching = Promise.all(HOST_ROLES.map((role) => this.#watchRoom(role, patience, over.signal)));
    try {
      const settled = await this.#settle(patience, movement);
      if (settled.owner !== "none") return settled;
      return { ...settled, how: [settled.how, ...(await this.#fullHosts())].join("; ") };
    } finally {
      stop();
      over.abort();
      await watching;
    }
  }

  /**
   * Memory that is copied somewhere fills the host's tmpfs, and nobody need tell of it: once for each time that the migration
   * is asked for. What is more than the guest has is a log, which could grow for ever.
   */
  async #watchRoom(role: HostRole, patience: Patience, over: AbortSignal): Promise<void> {
    const { fleet, memory_bytes, timeline } = this.#options;
    while (!over.aborted) {
      await pause(ROOM_EVERY_MS, over).catch(() => undefined);
      if (over.aborted || !fleet.host(role).up) continue;
      const used = await fleet
        .host(role)
        .run("df --output=used -B1 /dev/shm | tail -1", ANSWER_MS)
        .catch(() => "0");
      const mib = Math.floor(Math.min(Number(used), memory_bytes) / 2 ** 20);
      if (mib <= (this.#most_mib.get(role) ?? 0)) continue;
      this.#most_mib.set(role, mib);
      patience.onward(`${mib} MiB in the memory of ${role}`, timeline.now_ms);
    }
  }

  /** Nobody has the VM: whether a host has no room for it, as the harness sees it. */
  async #fullHosts(): Promise<readonly string[]> {
    const { fleet } = this.#options;
    const looks = HOST_ROLES.filter((role) => fleet.host(role).up).map(async (role) => {
      const free = await fleet
        .host(role)
        .run("df --output=avail -B1 /dev/shm | tail -1", ANSWER_MS)
        .catch(() => "");
      return free.trim() !== "" && Number(free) < ROOM_LEAST_BYTES ? [`no space left on the ${role}'s /dev/shm`] : [];
    });
    return (await Promise.all(looks)).flat();
  }

  async #settle(patience: Patience, movement: Movement): Promise<Settled> {
    const {
      agents,
      fleet,
      bytes_per_s,
      timeline,
      lease_ms,
      faultsOver,
      due,
      healing,
      struck,
      protect = "no",
    } = this.#options;
    await agents.client("source").ask(protect === "no" ? { do: "migrate", bytes_per_s } : { do: "protect", on: true });
    let began_ms = timeline.now_ms;
    // One that is protected is asked to migrate when that is on; whatever breaks before is not waited for.
    let asked = protect !== "first";
    let seen_ms = began_ms;
    let pages_ms = began_ms;
    let unprotected_ms = began_ms;
    let left = false;
    let tries = 1;
    let given_up_ms: number | undefined;
    let kept_ms: number | undefined;
    let states = "";
    for (;;) {
      const over_before = faultsOver();
      this.last = await this.#look();
      const now_ms = timeline.now_ms;
      if (states !== statesOf(this.last)) {
        states = statesOf(this.last);
        patience.alive(states, now_ms);
      }
      if (somebodyHas(this.last)) seen_ms = now_ms;
      // Only what is healed brings somebody back who has them; what is still to strike does not, whatever it waits for.
      if (!waitsForPages(this.last) || healing()) pages_ms = now_ms;
      // When nothing is to be healed any more, who serves pages is a matter of leases too.
      if (now_ms - pages_ms > nobodyAfter_ms(lease_ms))
        return { owner: "none", how: `${NOBODY_HAS}${this.#covered ? "" : NEVER_COVERED}`, tries };
      const unprotected = goesOnUnprotected(this.last, (role) => fleet.host(role).up);
      if (unprotected?.for_good !== true || !faultsOver()) unprotected_ms = now_ms;
      // A word that is under way, or a vote, takes leases as well.
      if (unprotected !== undefined && now_ms - unprotected_ms > nobodyAfter_ms(lease_ms))
        return { ...leftUnprotected(unprotected), tries };
      const there = protect === "first" && isProtectedAtSource(this.last);
      const stays = there && this.last.source?.phase === "idle";
      if (stays && !asked) {
        asked = true;
        await this.#ask();
        began_ms = timeline.now_ms;
      }
      const settled = there ? undefined : settledAs(this.last, now_ms - seen_ms > nobodyAfter_ms(lease_ms));
      // A VM that is protected for good is where it is only until what is to strike has struck.
      const protects = HOST_ROLES.some((role) => this.last[role]?.protect === true);
      // Who has lost it in that moment, or was cut off, still says that it has it: until leases have run out.
      const kept = over_before && settled !== undefined && isKept(this.last, settled);
      kept_ms = kept ? (kept_ms ?? now_ms) : undefined;
      if (kept_ms !== undefined && now_ms - kept_ms < KEPT_LEASES * lease_ms) {
        await pause(LOOK_EVERY_MS);
        continue;
      }
      // One that is lost stays so, unless what is healed brings it back.
      const lasts = over_before || !protects || (settled?.owner === "none" && !healing());
      if (settled !== undefined && lasts) return { ...(await this.#tidied(settled)), tries };
      if (this.last.source !== undefined && this.last.source.phase !== "idle") left = true;
      if ((givenUp(this.last) || stays) && (left || now_ms - began_ms > BEGIN_MS)) {
        given_up_ms ??= now_ms;
        if (now_ms - given_up_ms > GIVEN_UP_MS && !struck() && tries < TRIES) {
          // Whoever manages VMs asks again when nothing is wrong: an agent was short of a processor for a lease.
          tries += 1;
          const text = `the migration was given up: asked again (${tries} of ${TRIES})`;
          timeline.emit("run", { kind: "run.note", text });
          await this.#askAgain();
          this.#most_mib.clear();
          patience.onward(text, timeline.now_ms);
          left = false;
          given_up_ms = undefined;
        } else if (now_ms - given_up_ms > GIVEN_UP_MS)
          return { owner: "source", how: "the migration was given up before switchover: the source runs on", tries };
      } else given_up_ms = undefined;
      const what = waitsFor(this.last, unprotected);
      // Of a VM that stays where it is nothing else need come for as long as it takes.
      if (settled !== undefined && due()) patience.onward("a fault waits for its offset", now_ms);
      const over = patience.over(now_ms);
      if (over !== undefined && settled !== undefined) {
        // Whose the VM is was known: what was waited for is a fault whose moment does not come.
        timeline.emit("run", { kind: "run.note", text: `waited for the faults to strike and to be healed: ${over}` });
        return { ...settled, tries };
      }
      if (over !== undefined && unprotected !== undefined) {
        timeline.emit("run", { kind: "run.note", text: `waited for ${what}: ${over}` });
        return { ...leftUnprotected(unprotected), tries };
      }
      if (over !== undefined) {
        const lacks = this.last.target?.vm === "running" && !this.last.target.allPages;
        return { ...givenUpAt(`waited for ${what}: ${over}`, lacks ? movement.pages : undefined), tries };
      }
      this.#say(what, patience, now_ms);
      await pause(LOOK_EVERY_MS);
    }
  }

  #say(what: string, patience: Patience, now_ms: number): void {
    const waiting = patience.toSay(now_ms);
    if (waiting !== undefined) this.#options.timeline.emit("run", { kind: "run.waiting", what, ...waiting });
  }

  async #askAgain(): Promise<void> {
    const { prepareTarget, patience_ms, timeline } = this.#options;
    let refused = "";
    // A QEMU that ends gives its memory back first, which takes as long as there is memory.
    const free = await whileMoving(
      {
        what: "the target's agent to let go of its QEMU",
        patience_ms,
        moves: () => statesOf(this.last),
        onWaiting: (what, waiting) => timeline.emit("run", { kind: "run.waiting", what, ...waiting }),
        lastLines: () => [refused],
      },
      async () => {
        this.last = await this.#look();
        const vm = this.last.target?.vm;
        // It takes the VM over meanwhile: there is nothing to ask for any more.
        if (vm === "restoring" || vm === "ready" || vm === "running") return false;
        if (vm !== "none" && vm !== "gone") return undefined;
        try {
          await prepareTarget();
          return true;
        } catch (error) {
          refused = messageOf(error);
          return undefined;
        }
      },
    );
    if (free) await this.#ask();
  }

  /** For a migration. An agent that does not answer, or says why not, is seen to be as it is. */
  async #ask(): Promise<void> {
    const { agents, bytes_per_s, timeline } = this.#options;
    await agents
      .client("source")
      .ask({ do: "migrate", bytes_per_s })
      .catch((error: unknown) => {
        const text = `the migration was not begun: ${messageOf(error)}`;
        timeline.emit("run", { kind: "run.note", text });
      });
  }

  /** The owner is known. Faults that are still to be healed are waited for, and what the healing brings back. */
  async #tidied(settled: Settled): Promise<Settled> {
    const { owner } = settled;
    if (owner === "none") return settled;
    const { timeline, patience_ms, faultsOver } = this.#options;
    let patience = new Patience(patience_ms, timeline.now_ms);
    let waits_for_faults = true;
    const stop = timeline.onEvent((event) => {
      if (event.kind.startsWith("fault.")) patience.onward(event.kind.replace(".", " "), event.at_ms);
    });
    try {
      let states = statesOf(this.last);
      for (;;) {
        this.last = await this.#look();
        const now_ms = timeline.now_ms;
        const over = faultsOver();
        if (over && waits_for_faults) {
          waits_for_faults = false;
          patience = new Patience(patience_ms, now_ms);
        }
        if (over && tidy(this.last, owner) && !(await this.#anyComesBack(owner))) return settled;
        if (states !== statesOf(this.last)) {
          states = statesOf(this.last);
          patience.alive(states, now_ms);
        }
        const why = patience.over(now_ms);
        const what = over
          ? "the agents to let go of what nobody needs any more"
          : "the faults to strike and to be healed";
        if (why !== undefined) {
          timeline.emit("run", { kind: "run.note", text: `waited for ${what}: ${why}` });
          return settled;
        }
        this.#say(what, patience, now_ms);
        await pause(LOOK_EVERY_MS);
      }
    } finally {
      stop();
    }
  }

  /**
   * Whether an agent that was away is about to come back, or has not had the time to hear who has the VM: what it finds on
   * its host is its to end.
   */
  async #anyComesBack(owner: HostRole): Promise<boolean> {
    const { agents, fleet, lease_ms, timeline } = this.#options;
    const looks = HOST_ROLES.filter((role) => role !== owner && fleet.host(role).up).map(async (role) => {
      const agent = this.last[role];
      if (agent === undefined) return await agents.comesBack(role, ANSWER_MS).catch(() => false);
      const back_ms = this.#back_ms.get(role);
      if (back_ms === undefined || agent.hears.includes(owner)) return false;
      return timeline.now_ms - back_ms < HEARS_MS + 2 * lease_ms;
    });
    return (await Promise.all(looks)).includes(true);
  }

  async #look(): Promise<Statuses> {
    const seen = await this.#askEach();
    for (const role of HOST_ROLES)
      if (this.last[role] === undefined && seen[role] !== undefined)
        this.#back_ms.set(role, this.#options.timeline.now_ms);
    return seen;
  }

  async #askEach(): Promise<Statuses> {
    const { fleet, agents } = this.#options;
    const entries = await Promise.all(
      HOST_ROLES.map(async (role): Promise<[HostRole, AgentStatus | undefined]> => {
        const client = agents.client(role);
        if (!fleet.host(role).up || !client.connected) return [role, undefined];
        try {
          return [role, await client.ask<AgentStatus>({ do: "status" }, ANSWER_MS)];
        } catch {
          return [role, undefined];
        }
      }),
    );
    return Object.fromEntries(entries) as Record<HostRole, AgentStatus | undefined>;
  }
}

/** Where the VM is, and that it is not protected as it should be: it runs, and that is for the checks to see. */
function leftUnprotected({ role, generation, lacks }: Unprotected): Settled {
  return { owner: role, how: `generation ${generation}: whole on ${role}, unprotected`, unprotected: lacks };
}

/** The states of the three agents as words, to be compared and to be shown. */
function statesOf(statuses: Statuses): string {
  return HOST_ROLES.map((role) => {
    const agent = statuses[role];
    if (agent === undefined) return `${role} is silent`;
    const { phase, vm, opened, finished } = agent;
    return `${role} ${phase}, VM ${vm}, generation ${opened.generation}${finished ? ", done" : ""}`;
  }).join("; ");
}
