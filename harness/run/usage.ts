import { setTimeout as delay } from "node:timers/promises";
import type { HostRole } from "../base/timeline.ts";
import { HOST_ROLES } from "../base/timeline.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import { HostUsage, LOOK } from "./host-usage.ts";
import type { Timeline } from "./timeline.ts";

const LOOK_EVERY_MS = 1_000;
/** One `cat` of a few small files: in between a late answer is not worth waiting for, the first and the last are. */
const ANSWER_MS = { between: 400, edge: 5_000 };

/**
 * Notes on the timeline what the hosts use while the migration goes on: processor time of agents and QEMUs, bytes on the
 * fabric. It is read in the hosts, from outside of what is measured: no agent tells it of itself.
 */
export class UsageSampler implements AsyncDisposable {
  readonly #fleet: StartedFleet;
  readonly #agentPid: (role: HostRole) => number | undefined;
  readonly #timeline: Timeline;
  readonly #stop = new AbortController();
  readonly #usages = new Map<HostRole, HostUsage>();
  #work: Promise<unknown> | undefined;

  private constructor(fleet: StartedFleet, agentPid: (role: HostRole) => number | undefined, timeline: Timeline) {
    this.#fleet = fleet;
    this.#agentPid = agentPid;
    this.#timeline = timeline;
  }

  /** Looks once, which is what everything is counted from, and then now and then until it is disposed of. */
  static async start(
    fleet: StartedFleet,
    agentPid: (role: HostRole) => number | undefined,
    timeline: Timeline,
  ): Promise<UsageSampler> {
    const sampler = new UsageSampler(fleet, agentPid, timeline);
    await sampler.#lookAtAll(ANSWER_MS.edge);
    sampler.#work = sampler.#follow();
    return sampler;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await this.#lookAtAll(ANSWER_MS.between);
    }
  }

  async #lookAtAll(answer_ms: number): Promise<void> {
    await Promise.all(HOST_ROLES.map((role) => this.#look(role, answer_ms)));
  }

  /** A host that does not answer (dead, frozen) is left alone: what it had used by then stands on the timeline. */
  async #look(role: HostRole, answer_ms: number): Promise<void> {
    const host = this.#fleet.host(role);
    if (!host.up) return;
    const text = await host.run(LOOK, answer_ms).catch(() => undefined);
    if (text === undefined) return;
    const usage = this.#usages.get(role) ?? new HostUsage();
    this.#usages.set(role, usage);
    this.#timeline.emit(role, { kind: "host.usage", ...usage.see(text, this.#agentPid(role)) });
  }

  /** Looks a last time. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    await this.#work;
    await this.#lookAtAll(ANSWER_MS.edge);
  }
}
