import {
  type AgentEvent,
  ALL_RULES,
  type EventBody,
  type Message,
  type Role,
  type Rules,
  step,
} from "../core/index.ts";
import { act } from "./acting.ts";
import { Bulk } from "./bulk.ts";
import { Faults } from "./faults.ts";
import { clockOf, type Host, heardRunning, makeHost } from "./hosts.ts";
import { type Model, TODAY } from "./model.ts";
import { ModelVm } from "./model-vm.ts";
import { Network } from "./network.ts";
import { Oracle } from "./oracle.ts";
import { ProtectionWatch } from "./protection.ts";
import { EventQueue } from "./queue.ts";
import { Random } from "./random.ts";
import type { Schedule } from "./schedule.ts";
import { mayCount, mayStand } from "./sealed.ts";
import { stateCode } from "./signature.ts";

export interface ClusterOptions {
  readonly rules?: Rules;
  /** Where combinations of the three agents' states are noted. */
  readonly states?: Set<number>;
  readonly trace?: boolean;
  /** How the shells are built. */
  readonly model?: Model;
}

/** Three hosts, their links and one VM, and the time that they share. Things happen one after another, by one seed. */
export class Cluster {
  readonly schedule: Schedule;
  readonly model: Model;
  readonly oracle = new Oracle();
  readonly random: Random;
  readonly hosts: Readonly<Record<Role, Host>>;
  readonly network: Network;
  /** What is long, where connections are played. */
  readonly bulk: Bulk | null;
  readonly vm: ModelVm;
  readonly faults: Faults;
  readonly watch: ProtectionWatch;
  readonly trace: string[] | null;
  readonly #queue = new EventQueue();
  readonly #states: Set<number> | null;
  readonly #codes: Record<Role, number> = { source: 0, target: 0, escrow: 0 };
  now_ms = 0;
  /** Events that agents have handled. */
  events = 0;
  /** Generations opened and routes taken, in order. */
  path = "";
  /** On which host a VM is said to be protected, and not to be so no more. */
  saysProtected: Role | null = null;
  /** Of agents, counted. */
  lives = 0;
  /** Violations that the escrow, or the target, has reported of a shell that does wrong. */
  readonly reported: string[] = [];

  constructor(schedule: Schedule, options: ClusterOptions) {
    this.schedule = schedule;
    this.model = options.model ?? TODAY;
    this.random = new Random(schedule.seed ^ 0x5bd1e995);
    this.#states = options.states ?? null;
    this.trace = options.trace === true ? [] : null;
    const rules = options.rules ?? ALL_RULES;
    const make = (role: Role): Host => makeHost(role, schedule, rules, this.random);
    this.hosts = { source: make("source"), target: make("target"), escrow: make("escrow") };
    this.network = new Network(this);
    this.bulk = schedule.wire === undefined ? null : new Bulk(this, schedule.wire);
    this.vm = new ModelVm(this);
    this.faults = new Faults(this);
    this.watch = new ProtectionWatch(this);
  }

  /** Where the VM runs that is to be protected: without a migration wherever it is, else where it went. */
  get runner(): Host {
    const { source, target } = this.hosts;
    if (this.schedule.protect === undefined) return target;
    const has = ({ role, vm, state }: Host): boolean =>
      vm?.running === true && state.protect && state.promised.owner === role;
    return [source, target].find(has) ?? target;
  }

  // ---- time

  at(delay_ms: number, run: () => void): void {
    this.#queue.push(this.now_ms + delay_ms, run);
  }

  next_ms(): number {
    return this.#queue.nextTime();
  }

  /** The next thing happens. */
  advance(): void {
    this.now_ms = this.#queue.nextTime();
    this.#queue.pop()();
  }

  // ---- agents

  /**
   * Something happens to an agent. If its host is frozen, or its thread is busy, it is handled later: also where that takes
   * longer than it seemed, in the order in which it came (`place`).
   */
  event(role: Role, body: EventBody, place?: number): void {
    const host = this.hosts[role];
    if (!host.up || !host.agentUp) return;
    const { life } = host;
    const free_ms = Math.max(host.frozenUntil_ms, host.stalledUntil_ms);
    if (free_ms > this.now_ms) {
      const mine = place ?? this.#queue.place();
      const again = (): void => {
        if (host.life === life) this.event(role, body, mine);
      };
      this.#queue.push(free_ms, again, mine);
      return;
    }
    this.events += 1;
    if (body.kind === "vmRunning") heardRunning(host);
    const event = { ...body, now_ms: clockOf(host, this.now_ms) } as AgentEvent;
    const { state, actions } = step(host.state, event);
    host.state = state;
    host.committed = state.tx.committed;
    if (this.trace !== null && body.kind !== "timer" && !isHeartbeat(body)) {
      this.trace.push(`${this.now_ms.toFixed(1)} ${role} <- ${JSON.stringify(body)}`);
    }
    if (this.#states !== null) this.#noteState(host);
    for (const action of actions) {
      if (host.life !== life || !host.agentUp) return;
      if (this.trace !== null && action.kind !== "setTimer" && !(action.kind === "send" && isPing(action.message))) {
        this.trace.push(`${this.now_ms.toFixed(1)} ${role} -> ${JSON.stringify(action)}`);
      }
      if (action.kind === "releaseOutput") host.letOut = Math.max(host.letOut, action.to);
      this.faults.noteAction(role, action);
      act(this, host, action);
    }
    mayStand(host);
    mayCount(host, host.letOut);
  }

  /** An event for this life of the agent, later. */
  later(host: Host, delay_ms: number, body: EventBody): void {
    const { life } = host;
    this.at(delay_ms, () => {
      if (host.life === life) this.event(host.role, body);
    });
  }

  #noteState(host: Host): void {
    const code = stateCode(host.state);
    if (code === this.#codes[host.role]) return;
    this.#codes[host.role] = code;
    const { source, target, escrow } = this.#codes;
    this.#states?.add((source * 65_536 + target) * 65_536 + escrow);
  }
}

function isPing(message: Message): boolean {
  return message.kind === "ping" || message.kind === "pong";
}

function isHeartbeat(body: EventBody): boolean {
  return body.kind === "message" && isPing(body.message);
}
