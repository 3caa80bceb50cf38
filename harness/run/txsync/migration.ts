import { setTimeout as delay } from "node:timers/promises";
import type { Emit, HostRole } from "../../base/timeline.ts";
import { HOST_ROLES } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { Settled } from "../stock.ts";
import type { AgentStatus } from "./agent-client.ts";
import type { Agents } from "./agents.ts";
import { gateIsShut, givenUp, type Statuses, settledAs, somebodyHas, tidy, waitsForPages } from "./settling.ts";

export interface TxsyncOptions {
  readonly fleet: StartedFleet;
  readonly agents: Agents;
  readonly bytes_per_s: number;
  readonly emit: Emit;
  /** Whether any fault has struck by now. */
  readonly struck: () => boolean;
  /** A fresh QEMU on the target that waits for a migration. */
  readonly prepareTarget: () => Promise<unknown>;
  /** Whether every fault of the scenario has struck, and is healed where it is to be. */
  readonly faultsOver: () => boolean;
}

const LOOK_EVERY_MS = 20;
/** How often a migration is asked for before the harness says that it was given up. */
const TRIES = 3;
const ANSWER_MS = 400;
/** A target that lacks pages for so long will never have them: every fault is over. */
const NO_PAGES_MS = 8_000;
const DEADLINE_MS = 45_000;
/** How long the agents may take to let go of what is not needed any more, and a fault to strike or be healed. */
const TIDY_MS = 6_000;
const FAULTS_MS = 15_000;
/** A migration that was given up is looked at for a while: a VM that runs may still be taken away again. */
const GIVEN_UP_MS = 300;

/** Asks the source's agent to migrate, and waits until the agents say where the VM is. It tells them nothing else. */
export class TxsyncMigration {
  readonly #options: TxsyncOptions;
  last: Statuses = { source: undefined, target: undefined, escrow: undefined };

  constructor(options: TxsyncOptions) {
    this.#options = options;
  }

  async run(): Promise<Settled> {
    const { agents, bytes_per_s } = this.#options;
    await agents.client("source").ask({ do: "migrate", bytes_per_s });
    const began_ms = performance.now();
    let seen_ms = began_ms;
    let pages_ms = began_ms;
    let left = false;
    let tries = 1;
    let given_up_ms: number | undefined;
    for (;;) {
      const now_ms = performance.now();
      this.last = await this.#look();
      if (somebodyHas(this.last)) seen_ms = now_ms;
      if (!waitsForPages(this.last) || !this.#options.faultsOver()) pages_ms = now_ms;
      if (now_ms - pages_ms > NO_PAGES_MS)
        return { owner: "none", how: "the target waits for pages that nobody has whom it reaches" };
      const settled = settledAs(this.last, now_ms - seen_ms);
      if (settled !== undefined) return await this.#tidied(settled);
      if (this.last.source !== undefined && this.last.source.phase !== "idle") left = true;
      if (givenUp(this.last) && (left || now_ms - began_ms > 2_000)) {
        given_up_ms ??= now_ms;
        if (now_ms - given_up_ms > GIVEN_UP_MS && !this.#options.struck() && tries < TRIES) {
          // Whoever manages VMs asks again when nothing is wrong: an agent was short of a processor for a lease.
          tries += 1;
          this.#options.emit("run", {
            kind: "run.note",
            text: `the migration was given up: asked again (${tries} of ${TRIES})`,
          });
          await this.#askAgain();
          left = false;
          given_up_ms = undefined;
        } else if (now_ms - given_up_ms > GIVEN_UP_MS)
          return { owner: "source", how: "the migration was given up before switchover: the source runs on" };
      } else given_up_ms = undefined;
      if (now_ms - began_ms > DEADLINE_MS)
        return { owner: "none", how: `the agents did not settle within ${DEADLINE_MS} ms` };
      await delay(LOOK_EVERY_MS);
    }
  }

  async #askAgain(): Promise<void> {
    const { agents, bytes_per_s, prepareTarget } = this.#options;
    await waitFor({ what: "the target's agent to let go of its QEMU", timeout_ms: 10_000 }, async () => {
      const { target } = await this.#look();
      return target?.vm === "none" && target.qemu === null ? true : undefined;
    });
    await prepareTarget();
    await agents.client("source").ask({ do: "migrate", bytes_per_s });
  }

  /** Gate by gate: which hosts can let nothing out, as their agents say. */
  async shut(): Promise<ReadonlySet<HostRole>> {
    const statuses = await this.#look();
    return new Set(HOST_ROLES.filter((role) => gateIsShut(statuses[role])));
  }

  /** The owner is known. Faults that are still to be healed are waited for, and what the healing brings back. */
  async #tidied(settled: Settled): Promise<Settled> {
    const { owner } = settled;
    if (owner === "none") return settled;
    const began_ms = performance.now();
    let over_ms: number | undefined;
    for (;;) {
      const now_ms = performance.now();
      if (this.#options.faultsOver()) over_ms ??= now_ms;
      this.last = await this.#look();
      if (over_ms !== undefined && tidy(this.last, owner)) return settled;
      if (now_ms - (over_ms ?? began_ms) > (over_ms === undefined ? FAULTS_MS : TIDY_MS)) return settled;
      await delay(LOOK_EVERY_MS);
    }
  }

  async #look(): Promise<Statuses> {
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
