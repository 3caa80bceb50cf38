import type { Duplex } from "node:stream";
import { messageOf } from "../base/errors.ts";
import type { JsonValue } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import { QmpLines } from "./qmp-lines.ts";
import {
  type JsonObject,
  parseQmpLine,
  type QmpCommands,
  type QmpEvent,
  type QmpMessage,
  type QmpVersion,
} from "./qmp-protocol.ts";

export type { JsonObject, QmpCommands, QmpEvent, QmpVersion } from "./qmp-protocol.ts";

/** QEMU refused a command. `class` is QMP's error class (`GenericError`, `CommandNotFound`, ...). */
export class QmpCommandError extends Error {
  override readonly name = "QmpCommandError";
  readonly command: string;
  readonly class: string;
  readonly desc: string;

  constructor(where: string, command: string, errorClass: string, desc: string) {
    super(`${where}: QEMU refused ${command}: ${desc} (${errorClass})`);
    this.command = command;
    this.class = errorClass;
    this.desc = desc;
  }
}

/** The connection is no more, or was never one to QEMU. `command` is the command that waited for an answer, if any. */
export class QmpConnectionError extends Error {
  override readonly name = "QmpConnectionError";
  readonly command: string | undefined;

  constructor(message: string, command?: string) {
    super(message);
    this.command = command;
  }
}

export interface QmpConnectOptions {
  /** Whose QMP this is, for messages: "the target's QEMU". */
  readonly name: string;
  /** Default 5000. */
  readonly greeting_timeout_ms?: number;
  /** Default 10000. */
  readonly command_timeout_ms?: number;
  /** Longest line that is taken from QEMU, default 4 MiB. */
  readonly line_bytes_max?: number;
  /** Every line in either direction, without its newline: the run's QMP traffic log. */
  readonly onTraffic?: (direction: "in" | "out", line: string) => void;
  /** A listener that is there before the first event can come; `on` adds more. */
  readonly onEvent?: (event: QmpEvent) => void;
  /**
   * Somebody else, who is gone, talked over this monitor before: QEMU gives the answer to a command that it was still
   * busy with to whoever is connected next. Such answers are dropped.
   */
  readonly taken_over?: boolean;
  /** The last lines of QEMU's output, for the message of a wait that ran out. */
  readonly lastLines?: () => readonly string[] | Promise<readonly string[]>;
}

export interface ExecuteOptions {
  readonly timeout_ms?: number;
  /** Ask out-of-band: answered by the monitor's own thread while in-band commands wait. */
  readonly oob?: boolean;
}

type Arguments<C extends keyof QmpCommands> = QmpCommands[C]["arguments"];
type Rest<C extends keyof QmpCommands> =
  Record<never, never> extends Arguments<C>
    ? [args?: Arguments<C>, options?: ExecuteOptions]
    : [args: Arguments<C>, options?: ExecuteOptions];

interface Pending {
  readonly command: string;
  readonly resolve: (result: JsonValue) => void;
  readonly reject: (error: Error) => void;
}

/** The first bytes of what came, fit to be shown: at most 80, control characters escaped. */
function shown(bytes: Buffer): string {
  return JSON.stringify(bytes.subarray(0, 80).toString("latin1"));
}

/**
 * A connection to QEMU's machine protocol (docs/interop/qmp-spec). Several commands may be under way; answers are
 * told apart by id. Whatever breaks the connection rejects every command that waits, naming it. `on` hears events.
 */
export class QmpClient implements AsyncDisposable {
  readonly name: string;
  readonly #stream: Duplex;
  readonly #options: QmpConnectOptions;
  readonly #lines: QmpLines;
  readonly #pending = new Map<number, Pending>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #greeting = Promise.withResolvers<Extract<QmpMessage, { kind: "greeting" }>>();
  readonly #closed = Promise.withResolvers<{ readonly why: string }>();
  readonly #firstId: number;
  #lastId: number;
  /** The first line of a session that is gone on with: it may be half of one. */
  #midway: boolean;
  #why: string | undefined;
  #version: QmpVersion | undefined;
  #oob: boolean;

  private constructor(stream: Duplex, options: QmpConnectOptions, resumed = false) {
    this.name = options.name;
    this.#stream = stream;
    this.#options = options;
    this.#midway = resumed;
    // Answers to what was asked in an earlier life are told by their numbers.
    this.#firstId = resumed || options.taken_over === true ? Date.now() * 1000 : 0;
    this.#lastId = this.#firstId;
    this.#oob = resumed;
    this.#lines = new QmpLines(options.line_bytes_max ?? 4 * 1024 * 1024, resumed);
    if (options.onEvent) this.#listeners.add(options.onEvent);
    this.#greeting.promise.catch(() => undefined);
    stream.on("data", (chunk: Buffer | string) => this.#take(typeof chunk === "string" ? Buffer.from(chunk) : chunk));
    stream.on("error", (error) => this.#fail(`the connection broke: ${messageOf(error)}`));
    stream.on("end", () => this.#ended());
    stream.on("close", () => this.#ended());
  }

  /**
   * Takes QEMU's greeting and negotiates, with out-of-band commands where QEMU offers them.
   * @throws WaitTimeoutError when no greeting comes; QmpConnectionError when something else than QMP comes or the
   *   stream ends. The stream is destroyed then.
   */
  static async connect(stream: Duplex, options: QmpConnectOptions): Promise<QmpClient> {
    const client = new QmpClient(stream, options);
    try {
      const greeting = await within(
        {
          what: `the QMP greeting of ${options.name}`,
          timeout_ms: options.greeting_timeout_ms ?? 5000,
          ...(options.lastLines && { lastLines: options.lastLines }),
        },
        client.#greeting.promise,
      );
      client.#version = greeting.version;
      const oob = greeting.capabilities.includes("oob");
      await client.executeRaw("qmp_capabilities", oob ? { enable: ["oob"] } : {});
      client.#oob = oob;
      return client;
    } catch (error) {
      client.#fail(messageOf(error));
      throw error;
    }
  }

  /**
   * Goes on with a session that an earlier process negotiated, out-of-band commands included, and that QEMU never saw
   * end: its monitor is a pair of FIFOs. Needs no answer of QEMU, whose main thread may wait for a page just then. What
   * QEMU said meanwhile comes first; answers to the earlier process are dropped. `version` is not known.
   */
  static resume(stream: Duplex, options: QmpConnectOptions): QmpClient {
    return new QmpClient(stream, options, true);
  }

  /** As the greeting told it. */
  get version(): QmpVersion {
    if (this.#version === undefined) throw new Error("a QmpClient is only handed out with its version known");
    return this.#version;
  }

  /** Whether out-of-band commands were negotiated. */
  get oob(): boolean {
    return this.#oob;
  }

  /** Settles when the connection is no more, with the reason. Never rejects. */
  get closed(): Promise<{ readonly why: string }> {
    return this.#closed.promise;
  }

  /** Hears every event from now on. Returns what ends that. */
  on(listener: (event: QmpEvent) => void): () => void {
    const own = (event: QmpEvent) => listener(event);
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  /**
   * Runs a command and returns its result. A command that timed out may still be carried out by QEMU; its late
   * answer is dropped.
   * @throws QmpCommandError when QEMU refuses; WaitTimeoutError; QmpConnectionError when the connection dies.
   */
  async execute<C extends keyof QmpCommands>(
    command: C,
    ...[args, options]: Rest<C>
  ): Promise<QmpCommands[C]["result"]> {
    // The result's shape is QEMU's promise (QAPI); every reader that computes with it looks before it leaps.
    return (await this.executeRaw(command, args as JsonObject | undefined, options)) as QmpCommands[C]["result"];
  }

  /** As `execute`, for a command that `QmpCommands` does not name. */
  async executeRaw(command: string, args?: JsonObject, options: ExecuteOptions = {}): Promise<JsonValue> {
    if (this.#why !== undefined) throw this.#gone(command);
    if (options.oob === true && !this.#oob) {
      throw new QmpConnectionError(`${this.name}: ${command} was asked out-of-band, which was not negotiated`, command);
    }
    this.#lastId += 1;
    const id = this.#lastId;
    const verb = options.oob === true ? "exec-oob" : "execute";
    const line = JSON.stringify({ [verb]: command, ...(args !== undefined && { arguments: args }), id });
    const answer = new Promise<JsonValue>((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
    });
    this.#options.onTraffic?.("out", line);
    this.#stream.write(`${line}\n`);
    try {
      return await within(
        {
          what: `${this.name} to answer ${command}${options.oob === true ? " (out-of-band)" : ""}`,
          timeout_ms: options.timeout_ms ?? this.#options.command_timeout_ms ?? 10_000,
          ...(this.#options.lastLines && { lastLines: this.#options.lastLines }),
        },
        answer,
      );
    } finally {
      this.#pending.delete(id);
    }
  }

  /** Closes the connection. Commands that still wait are rejected. QEMU itself lives on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail("we closed the connection");
    await this.#closed.promise;
  }

  #gone(command: string): QmpConnectionError {
    return new QmpConnectionError(`${this.name}: no answer to ${command}: ${this.#why}`, command);
  }

  #ended(): void {
    const unfinished = this.#lines.unfinished;
    this.#fail(
      unfinished.length > 0
        ? `the connection ended in the middle of a line, after ${shown(unfinished)}`
        : "the connection ended",
    );
  }

  #fail(why: string): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    this.#greeting.reject(new QmpConnectionError(`${this.name}: no QMP greeting: ${why}`));
    for (const { command, reject } of this.#pending.values()) reject(this.#gone(command));
    this.#pending.clear();
    this.#listeners.clear();
    this.#stream.destroy();
    this.#closed.resolve({ why });
  }

  #take(chunk: Buffer): void {
    for (const result of this.#lines.push(chunk)) {
      if (this.#why !== undefined) return;
      if (result.kind === "garbage") this.#fail(`what came is not QMP: ${shown(result.bytes)}`);
      else if (result.kind === "too-long") {
        this.#fail(`a line of ${result.size_bytes} bytes or more came, too long for QMP: ${shown(result.bytes)}`);
      } else this.#takeLine(result.line);
    }
  }

  #takeLine(line: string): void {
    this.#options.onTraffic?.("in", line);
    const message = parseQmpLine(line);
    const midway = this.#midway;
    this.#midway = false;
    if (message === undefined && midway) return;
    if (message === undefined) {
      this.#fail(`what came is not QMP: ${shown(Buffer.from(line))}`);
      return;
    }
    switch (message.kind) {
      case "greeting":
        this.#greeting.resolve(message);
        return;
      case "event":
        this.#tell(message.event);
        return;
      case "return":
        this.#answered(message.id, line, (pending) => pending.resolve(message.result));
        return;
      case "error":
        this.#answered(message.id, line, (pending) =>
          pending.reject(new QmpCommandError(this.name, pending.command, message.class, message.desc)),
        );
    }
  }

  /** Settles the command that an answer belongs to. An answer to nothing that was asked is not QMP. */
  #answered(id: JsonValue | undefined, line: string, settle: (pending: Pending) => void): void {
    if (this.#firstId > 0 && (typeof id !== "number" || id <= this.#firstId)) return;
    if (typeof id !== "number" || !Number.isInteger(id) || id < 1 || id > this.#lastId) {
      this.#fail(`an answer came to a command that was never sent: ${shown(Buffer.from(line))}`);
      return;
    }
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    // None: the command has timed out meanwhile.
    if (pending !== undefined) settle(pending);
  }

  #tell(event: QmpEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        this.#fail(`a listener failed on ${event.name}: ${messageOf(error)}`);
        return;
      }
    }
  }
}
