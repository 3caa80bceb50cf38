import type { Socket } from "node:net";
import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import { within } from "../../base/wait.ts";
import type { StartedHost } from "../../fleet/host.ts";
import type { ControlRequest } from "../../txsync/agent/control.ts";
import type { Descriptor, LogState, PageRoute, Phase, Role, VmState } from "../../txsync/core/index.ts";
import { AgentConnection } from "./agent-connection.ts";
import { agentEvent } from "./agent-events.ts";

/** What an agent says of itself when it is asked. */
export interface AgentStatus {
  readonly phase: Phase;
  readonly vm: VmState;
  readonly owner: boolean;
  readonly opened: Descriptor;
  readonly promised: Descriptor;
  readonly finished: boolean;
  /** Escrow: it has the place that it came for. */
  readonly letIn: boolean;
  readonly protect: boolean;
  readonly protected: boolean;
  readonly allPages: boolean;
  readonly route: PageRoute;
  readonly log: LogState | null;
  readonly qemu: number | null;
  readonly folder: string | null;
  readonly migration: string | null;
  readonly hears: readonly Role[];
}

type Ask = ControlRequest extends infer R ? (R extends { id: number } ? Omit<R, "id"> : never) : never;

/** An answer, or an event that came by itself; `id` 0 is an answer to `watch`. */
const lineSchema = z.looseObject({
  id: z.number().nullable().optional(),
  ok: z.unknown().optional(),
  error: z.string().optional(),
  event: z.unknown().optional(),
});

/** For an agent to do what it was asked: to begin something, to start a QEMU, to tell how it is. It fills no memory first. */
const ANSWER_MS = 20_000;
const RECONNECT_MS = 50;

/** What the harness asks one agent, and hears from it; it comes back when the agent does. */
export class AgentClient implements Disposable {
  readonly host: StartedHost;
  readonly #onEvent: (event: TimelineEventBody) => void;
  readonly #pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #socket: Socket | undefined;
  readonly #connection: AgentConnection;
  #last = 0;

  constructor(host: StartedHost, token: string, onEvent: (event: TimelineEventBody) => void) {
    this.host = host;
    this.#onEvent = onEvent;
    this.#connection = new AgentConnection({
      host,
      token,
      reconnect_ms: RECONNECT_MS,
      onOpen: (socket) => socket.write(`${JSON.stringify({ id: 0, do: "watch" })}\n`),
      onLines: (lines, socket) => {
        for (const line of lines) this.#line(socket, line);
      },
      onClose: () => {
        this.#socket = undefined;
        for (const { reject } of this.#pending.values()) reject(new Error(`the agent on ${host.role} is gone`));
      },
    });
  }

  get connected(): boolean {
    return this.#socket !== undefined;
  }

  /** @throws Error when the agent refuses, is not there, or does not answer in time. */
  async ask<T>(request: Ask, timeout_ms = ANSWER_MS): Promise<T> {
    const socket = this.#socket;
    if (socket === undefined) throw new Error(`the agent on ${this.host.role} is not there`);
    const id = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { resolve, reject });
    socket.write(`${JSON.stringify({ id, ...request })}\n`);
    try {
      return (await within({ what: `the agent on ${this.host.role} to ${request.do}`, timeout_ms }, promise)) as T;
    } finally {
      this.#pending.delete(id);
    }
  }

  #line(socket: Socket, line: string): void {
    let said: z.infer<typeof lineSchema>;
    try {
      said = lineSchema.parse(JSON.parse(line));
    } catch (error) {
      this.#refused(`the agent's words make no sense: ${messageOf(error)}`);
      return;
    }
    if (said.event !== undefined) {
      const heard = agentEvent(this.host.role, said.event);
      if ("event" in heard) this.#onEvent(heard.event);
      else this.#refused(heard.refused);
      return;
    }
    // Published ports accept connections though nobody listens behind them: only an answer shows an agent.
    if (said.id === 0) this.#socket = socket;
    const waiting = this.#pending.get(said.id ?? -1);
    if (said.error !== undefined) waiting?.reject(new Error(said.error));
    else waiting?.resolve(said.ok);
  }

  #refused(why: string): void {
    this.#onEvent({ kind: "log", stream: "agent", line: why });
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
