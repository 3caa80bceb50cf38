import { decodeMessage, encodeMessage } from "../../wire/index.ts";
import {
  type Action,
  type AgentEvent,
  type AgentState,
  ALL_RULES,
  DEFAULT_TIMING,
  type EventBody,
  frameNumber,
  initialState,
  type Message,
  type Report,
  type Role,
  step,
} from "../index.ts";

const ROLES: readonly Role[] = ["source", "target", "escrow"];

/** What a shell makes of what it is asked for; `hold`: nothing is heard of it. */
export interface Shells {
  takes: "taken" | "failed" | "hold";
  stores: "stored" | "failed" | "refused" | "hold";
  runs: "running" | "failed" | "hold";
  /** Messages that are lost on their way. */
  loses: (message: Message) => boolean;
}

/** Three agents whose messages arrive at once and whose disks are quick; enough to walk through a migration by hand. */
export class Trio {
  readonly states: Record<Role, AgentState>;
  readonly done: { role: Role; action: Action }[] = [];
  readonly deaf = new Set<Role>();
  /** Links that are down for good. */
  readonly cut = new Set<`${Role}-${Role}`>();
  readonly shells: Shells = { takes: "taken", stores: "stored", runs: "running", loses: () => false };
  now_ms = 0;
  #lives = 0;

  constructor() {
    const make = (role: Role): AgentState =>
      initialState({
        role,
        ...DEFAULT_TIMING,
        durability: "process",
        logSync: "disk",
        protect: "until-handoff",
        unprotected: "go",
        rules: ALL_RULES,
      });
    this.states = { source: make("source"), target: make("target"), escrow: make("escrow") };
    for (const role of ROLES)
      this.event(role, { kind: "started", incarnation: 1, durable: null, memory: null, log: null });
  }

  /** Comes up, for the first time or with what is given. */
  start(role: Role, found: Partial<Extract<EventBody, { kind: "started" }>> = {}): void {
    this.#lives += 1;
    this.event(role, { kind: "started", incarnation: this.#lives, durable: null, memory: null, log: null, ...found });
  }

  event(role: Role, body: EventBody): void {
    const { state, actions } = step(freeze(this.states[role]), { ...body, now_ms: this.now_ms } as AgentEvent);
    this.states[role] = state;
    for (const action of actions) this.act(role, action);
  }

  act(role: Role, action: Action): void {
    this.done.push({ role, action });
    if (action.kind === "persistPromise") {
      this.event(role, { kind: "promisePersisted", generation: action.durable.descriptor.generation });
    } else if (action.kind === "send" && this.#reaches(role, action.to) && !this.shells.loses(action.message)) {
      // Everything that is said passes through the wire format and back.
      const { message } = decodeMessage(Buffer.concat(encodeMessage(action.message)));
      this.event(action.to, { kind: "message", from: role, message });
    } else if (action.kind === "storeRecord") this.#store(role, action.header);
    else if (action.kind === "takeTransaction") this.#take(role, action);
    else if (action.kind === "loadPackage") this.event(role, { kind: "vmRunning" });
    else if (action.kind === "runQemu" && this.shells.runs !== "hold") {
      this.event(role, { kind: this.shells.runs === "running" ? "vmRunning" : "runFailed" });
    }
  }

  #store(role: Role, { generation, n }: Extract<Action, { kind: "storeRecord" }>["header"]): void {
    const { stores } = this.shells;
    if (stores === "stored") this.event(role, { kind: "recordStored", generation, n });
    else if (stores === "failed") this.event(role, { kind: "recordFailed", generation, n, why: "the disk is full" });
    else if (stores === "refused") this.event(role, { kind: "recordRefused", generation, n, why: "another digest" });
  }

  #take(role: Role, { generation, n }: Extract<Action, { kind: "takeTransaction" }>): void {
    const { takes } = this.shells;
    if (takes === "failed") this.event(role, { kind: "transactionFailed", generation, n });
    if (takes !== "taken") return;
    this.event(role, { kind: "transactionTaken", generation, n, mark: this.states[role].gate.produced });
  }

  /** What the source's host remembers of a VM that it restored and that died. */
  readonly remembered = {
    vm: "none",
    produced: frameNumber(0),
    acked: frameNumber(0),
    committed: -1,
    hasBase: true,
    hasPackage: true,
    restored: null,
    contained: frameNumber(0),
    allPages: false,
    ranFree: false,
    opened: null,
    leftAt: null,
    protect: false,
    base: "none",
    log: null,
    logLost: false,
  } as const;

  #reaches(from: Role, to: Role): boolean {
    return (
      !this.deaf.has(from) && !this.deaf.has(to) && !this.cut.has(`${from}-${to}`) && !this.cut.has(`${to}-${from}`)
    );
  }

  beat(times: number): void {
    for (let i = 0; i < times; i += 1) {
      this.now_ms += 100;
      for (const role of ROLES) if (!this.deaf.has(role)) this.event(role, { kind: "timer", timer: "heartbeat" });
    }
  }

  /** Up to the point where the target runs. */
  switchOver(): this {
    this.beat(1);
    this.event("source", { kind: "migrate" });
    this.beat(6);
    this.event("source", { kind: "packageReady", mark: frameNumber(0), acked: frameNumber(0) });
    return this;
  }

  sent<K extends Message["kind"]>(role: Role, kind: K): Extract<Message, { kind: K }>[] {
    return this.of(role, "send").flatMap(({ message }) =>
      message.kind === kind ? [message as Extract<Message, { kind: K }>] : [],
    );
  }

  reports<W extends Report["what"]>(role: Role, what: W): Extract<Report, { what: W }>[] {
    return this.of(role, "report").flatMap(({ report }) =>
      report.what === what ? [report as Extract<Report, { what: W }>] : [],
    );
  }

  /** The target's guest says something. */
  says(upTo: number): void {
    this.event("target", { kind: "output", upTo: frameNumber(upTo) });
  }

  /** The target's timer of epochs, so many times, each with a heartbeat of everybody. */
  epochs(times: number): void {
    for (let i = 0; i < times; i += 1) {
      this.beat(1);
      this.event("target", { kind: "timer", timer: "epoch" });
    }
  }

  of<K extends Action["kind"]>(role: Role, kind: K): Extract<Action, { kind: K }>[] {
    return this.done.flatMap(({ role: by, action }) =>
      by === role && action.kind === kind ? [action as Extract<Action, { kind: K }>] : [],
    );
  }
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }
  return value;
}
