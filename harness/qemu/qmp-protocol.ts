import type { JsonValue } from "../base/timeline.ts";
import type { MigrationCapability, MigrationInfo, MigrationParameters } from "./migration-api.ts";

/** A JSON object, as QMP sends and takes it. */
export type JsonObject = { readonly [key: string]: JsonValue };

/** QEMU's version as the QMP greeting tells it. */
export interface QmpVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  /** The distribution's package version, such as `Debian 1:7.2+dfsg-7`; often empty. */
  readonly package: string;
}

/** QAPI `RunState`, qapi/run-state.json; a string because versions add to it. */
export interface StatusInfo {
  readonly running: boolean;
  readonly status: string;
}

export interface ChardevInfo {
  readonly label: string;
  readonly filename: string;
  readonly "frontend-open": boolean;
}

export interface CpuInfoFast {
  readonly "cpu-index": number;
  readonly "qom-path": string;
  readonly "thread-id": number;
}

export interface MemoryBackendInfo {
  readonly id?: string;
  readonly size: number;
  readonly share?: boolean;
}

/** QAPI `ObjectPropertyInfo`. */
export interface QomPropertyInfo {
  readonly name: string;
  readonly type: string;
}

type NoArguments = { readonly [key: string]: never };

interface Command<Arguments, Result> {
  readonly arguments: Arguments;
  readonly result: Result;
}

/**
 * The QMP commands that Ferryman uses, with their arguments and results, after QEMU's qapi/*.json of 7.2 to 11.1.
 * Anything else goes through `QmpClient.executeRaw`.
 */
export interface QmpCommands {
  readonly "query-version": Command<
    NoArguments,
    {
      readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
      readonly package: string;
    }
  >;
  readonly "query-status": Command<NoArguments, StatusInfo>;
  readonly "query-cpus-fast": Command<NoArguments, readonly CpuInfoFast[]>;
  readonly "query-chardev": Command<NoArguments, readonly ChardevInfo[]>;
  readonly "query-memdev": Command<NoArguments, readonly MemoryBackendInfo[]>;
  readonly "query-kvm": Command<NoArguments, { readonly enabled: boolean; readonly present: boolean }>;
  readonly "qom-get": Command<{ readonly path: string; readonly property: string }, JsonValue>;
  readonly "qom-list": Command<{ readonly path: string }, readonly QomPropertyInfo[]>;
  readonly "human-monitor-command": Command<{ readonly "command-line": string; readonly "cpu-index"?: number }, string>;
  readonly "chardev-change": Command<{ readonly id: string; readonly backend: JsonObject }, { readonly pty?: string }>;
  readonly stop: Command<NoArguments, JsonObject>;
  readonly cont: Command<NoArguments, JsonObject>;
  readonly quit: Command<NoArguments, JsonObject>;
  readonly system_reset: Command<NoArguments, JsonObject>;
  readonly "xen-save-devices-state": Command<{ readonly filename: string; readonly live?: boolean }, JsonObject>;
  readonly "query-migrate": Command<NoArguments, MigrationInfo>;
  readonly "query-migrate-capabilities": Command<
    NoArguments,
    readonly { readonly capability: string; readonly state: boolean }[]
  >;
  readonly "query-migrate-parameters": Command<NoArguments, JsonObject>;
  readonly "migrate-set-capabilities": Command<
    { readonly capabilities: readonly { readonly capability: MigrationCapability; readonly state: boolean }[] },
    JsonObject
  >;
  readonly "migrate-set-parameters": Command<MigrationParameters, JsonObject>;
  readonly migrate: Command<{ readonly uri: string; readonly resume?: boolean }, JsonObject>;
  /** `exit-on-error: false` (9.1 and later) keeps a target alive whose migration failed. */
  readonly "migrate-incoming": Command<{ readonly uri: string; readonly "exit-on-error"?: boolean }, JsonObject>;
  readonly "migrate-start-postcopy": Command<NoArguments, JsonObject>;
  /** Out-of-band capable. */
  readonly "migrate-recover": Command<{ readonly uri: string }, JsonObject>;
  /** Out-of-band capable. */
  readonly "migrate-pause": Command<NoArguments, JsonObject>;
  readonly "migrate-continue": Command<{ readonly state: string }, JsonObject>;
  readonly migrate_cancel: Command<NoArguments, JsonObject>;
}

interface EventHead {
  /** As QEMU wrote it: MIGRATION, STOP, ... */
  readonly name: string;
  /** As QEMU sent it, for the timeline. */
  readonly data: JsonObject;
  /** QEMU's own clock, since the epoch. */
  readonly at_ms: number;
}

/** An event that QMP reported. `kind` is what may be switched on; `name` and `data` are what QEMU said. */
export type QmpEvent = EventHead &
  (
    | { readonly kind: "migration"; readonly status: string }
    | { readonly kind: "migration-pass"; readonly pass: number }
    | { readonly kind: "stop" }
    | { readonly kind: "resume" }
    | { readonly kind: "reset"; readonly guest: boolean; readonly reason: string }
    | { readonly kind: "shutdown"; readonly guest: boolean; readonly reason: string }
    | { readonly kind: "other" }
  );

/** What one line from QEMU says. */
export type QmpMessage =
  | { readonly kind: "greeting"; readonly version: QmpVersion; readonly capabilities: readonly string[] }
  | { readonly kind: "return"; readonly id: JsonValue | undefined; readonly result: JsonValue }
  | { readonly kind: "error"; readonly id: JsonValue | undefined; readonly class: string; readonly desc: string }
  | { readonly kind: "event"; readonly event: QmpEvent };

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function numberAt(value: JsonObject, key: string): number {
  const found = value[key];
  return typeof found === "number" ? found : 0;
}

function textAt(value: JsonObject, key: string): string {
  const found = value[key];
  return typeof found === "string" ? found : "";
}

function parseEvent(name: string, message: JsonObject): QmpEvent {
  const data = isObject(message["data"]) ? message["data"] : {};
  const timestamp = isObject(message["timestamp"]) ? message["timestamp"] : {};
  const at_ms = numberAt(timestamp, "seconds") * 1000 + numberAt(timestamp, "microseconds") / 1000;
  const head: EventHead = { name, data, at_ms };
  const fromGuest = data["guest"] === true;
  const { status, pass } = data;
  if (name === "MIGRATION" && typeof status === "string") return { ...head, kind: "migration", status };
  if (name === "MIGRATION_PASS" && typeof pass === "number") return { ...head, kind: "migration-pass", pass };
  if (name === "STOP") return { ...head, kind: "stop" };
  if (name === "RESUME") return { ...head, kind: "resume" };
  if (name === "RESET") return { ...head, kind: "reset", guest: fromGuest, reason: textAt(data, "reason") };
  if (name === "SHUTDOWN") return { ...head, kind: "shutdown", guest: fromGuest, reason: textAt(data, "reason") };
  return { ...head, kind: "other" };
}

/**
 * Reads one line of QMP (QEMU: docs/interop/qmp-spec). `undefined` for what is not QMP.
 */
export function parseQmpLine(line: string): QmpMessage | undefined {
  let message: JsonValue;
  try {
    message = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(message)) return undefined;
  const { QMP, event, error, id } = message;
  if (isObject(QMP)) {
    const version = isObject(QMP["version"]) ? QMP["version"] : {};
    const qemu = version["qemu"];
    if (!isObject(qemu) || typeof qemu["major"] !== "number") return undefined;
    const offered = QMP["capabilities"];
    return {
      kind: "greeting",
      version: {
        major: qemu["major"],
        minor: numberAt(qemu, "minor"),
        micro: numberAt(qemu, "micro"),
        package: textAt(version, "package"),
      },
      capabilities: Array.isArray(offered) ? offered.filter((name) => typeof name === "string") : [],
    };
  }
  if (typeof event === "string") return { kind: "event", event: parseEvent(event, message) };
  if (isObject(error)) return { kind: "error", id, class: textAt(error, "class"), desc: textAt(error, "desc") };
  const result = message["return"];
  if (result !== undefined) return { kind: "return", id, result };
  return undefined;
}
