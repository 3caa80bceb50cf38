import { HOST_ROLES, type JsonValue, STORAGE } from "../base/timeline.ts";
import { FAULTS, type FaultSpec, isOwnFault } from "../faults/index.ts";
import { CONNECTIONS_TOLD_APART } from "../fleet/split.ts";
import type { FaultPlan } from "../run/scenario.ts";
import { faultSchema, LINK_NAMES } from "../run/scenario-schema.ts";
import { Cursor } from "./cursor.ts";
import { printTrigger, readTrigger } from "./trigger-grammar.ts";
import { BYTES, COUNT, DURATION, SHORT, type Unit } from "./units.ts";

/**
 * A fault as it is typed, and when:
 *
 *     kill-host:target@pages=30%
 *     cut-silent:source-target,forward@step=target-running+200ms..heal=1s
 *     latency:source-target,backward,delay=50ms,jitter=5ms@step=setup..heal=step=completing
 *
 *     fault   = name ":" part ("," part)* "@" trigger ["..heal=" (time | trigger)]
 *     part    = word | key "=" value
 *
 * Words come first, in their order; a time after `heal=` counts from the moment at which the fault itself struck.
 * What is printed reads back as the same, and what is typed in the order of `PARTS` is printed as it was typed.
 */

/** One setting of a fault, or the place where it strikes. */
interface Part {
  /** Its name in the fault's data. */
  readonly key: string;
  /** What it is, for messages. */
  readonly what: string;
  /** As it is typed: one of these words, or `name=` and a value. */
  readonly words?: readonly string[];
  readonly name?: string;
  readonly value?: { readonly read: (cursor: Cursor) => JsonValue; readonly print: (value: never) => string };
  /** Where it is a word that stands for `true`. */
  readonly flag?: true;
  /** "may be absent", or what its absence means: then it is in the data all the same, and is not printed. */
  readonly absent?: "left-out" | { readonly means: JsonValue };
}

const word = (key: string, what: string, words: readonly string[], absent?: Part["absent"]): Part => ({
  key,
  what,
  words,
  ...(absent === undefined ? {} : { absent }),
});
const value = (key: string, name: string, what: string, unit: Unit, absent?: Part["absent"]): Part => ({
  key,
  what,
  name,
  value: unit,
  ...(absent === undefined ? {} : { absent }),
});
const flag = (key: string, name: string): Part => ({ key, what: name, words: [name], flag: true, absent: "left-out" });

const HOST = word("host", "a host", HOST_ROLES);
const ANY_HOST = word("host", "a host", [...HOST_ROLES, STORAGE]);
const VM_HOST = word("host", "a host of the VM", ["source", "target"]);
const LINK = word("link", "a link", LINK_NAMES);
const PROCESS = word("process", "a process", ["qemu", "agent", "disks"]);
const DIRECTION = word("direction", "a direction", ["both", "forward", "backward"], "left-out");
const CONNECTION = value("connection", "connection", `1 to ${CONNECTIONS_TOLD_APART}`, COUNT, "left-out");

/** A JSON object up to the brace that closes it; for a command's arguments. */
const JSON_OBJECT = {
  read(cursor: Cursor): JsonValue {
    const { at, text } = cursor;
    for (let end = text.indexOf("}", at); end >= 0; end = text.indexOf("}", end + 1)) {
      const piece = text.slice(at, end + 1);
      try {
        const parsed: JsonValue = JSON.parse(piece);
        if (piece.startsWith("{") && cursor.takes(piece)) return parsed;
      } catch {
        // Not the brace that closes it.
      }
    }
    return cursor.fails('a JSON object is needed, such as {"uri":"tcp:nowhere:1"}');
  },
  print: (object: JsonValue) => JSON.stringify(object),
};

/** In what order the parts of each fault are typed. */
export const PARTS: { readonly [Name in FaultSpec["fault"]]: readonly Part[] } = {
  bandwidth: [LINK, DIRECTION, CONNECTION, value("bytes_per_s", "rate", "bytes per second", BYTES)],
  "byte-limit": [LINK, DIRECTION, CONNECTION, value("bytes", "bytes", "after how many bytes it dies", BYTES)],
  "cpu-pressure": [HOST, value("processes", "processes", "how many", COUNT, { means: 1 })],
  "clock-step": [
    HOST,
    word("clock", "which of the agent's clocks", ["monotonic", "wall"]),
    value("by_ms", "by", "by how much", DURATION),
    flag("back", "back"),
  ],
  "cut-reset": [LINK, word("direction", "which end alone is told", ["forward", "backward"], "left-out"), CONNECTION],
  "cut-silent": [LINK, { ...DIRECTION, absent: { means: "both" } }, CONNECTION],
  "deny-writes": [HOST, word("what", "what of the agent's files", ["promises", "memory"])],
  "detach-host": [HOST],
  fill: [
    ANY_HOST,
    word("what", "what is filled", ["shm", "disk"]),
    value("bytes", "bytes", "how much", BYTES, "left-out"),
  ],
  "freeze-host": [HOST],
  "freeze-process": [HOST, PROCESS],
  "io-error": [
    HOST,
    word("what", "what of the agent's files", ["promises", "memory"]),
    word("calls", "which calls fail", ["writes", "reads", "all"], "left-out"),
    word("error", "what they fail with", ["eio", "full"], "left-out"),
  ],
  "kill-host": [HOST],
  "kill-manager": [VM_HOST, word("part", "what of it", ["daemon", "client"])],
  "kill-process": [HOST, PROCESS, flag("stays_away", "stays-away")],
  "kill-storage": [word("what", "what of the storage host", ["server"])],
  latency: [
    LINK,
    DIRECTION,
    CONNECTION,
    value("latency_ms", "delay", "how much later all comes", DURATION),
    value("jitter_ms", "jitter", "give or take how much", DURATION, { means: 0 }),
  ],
  qmp: [
    VM_HOST,
    {
      key: "command",
      what: "a QMP command",
      value: {
        read: (cursor) =>
          cursor.match(/[a-zA-Z_][a-zA-Z0-9_-]*/y) ?? cursor.fails("a QMP command is needed, such as stop"),
        print: String,
      },
    },
    flag("oob", "oob"),
    value("within_ms", "within", "how long an answer is waited for", DURATION, "left-out"),
    word("answer", "what ought to come of it", ["in-time", "never", "either"], "left-out"),
    { key: "arguments", what: "its arguments", name: "arguments", value: JSON_OBJECT, absent: "left-out" },
  ],
  "replace-host": [word("host", "the escrow", ["escrow"])],
  slice: [
    LINK,
    DIRECTION,
    CONNECTION,
    value("bytes_mean", "size", "mean size of a piece", BYTES),
    value("bytes_variation", "variation", "give or take how many bytes", BYTES, { means: 0 }),
    value("delay_us", "pause", "time between two pieces", SHORT, { means: 0 }),
  ],
};

export const FAULT_NAMES = Object.keys(FAULTS) as readonly FaultSpec["fault"][];

const NO_PACKETS =
  "packets are neither lost nor damaged here: Toxiproxy carries bytes of connections and has no such toxic, a host has no right to use tc, and not every kernel has netem; cut-silent, latency and slice are what TCP makes of loss, and what is damaged TCP throws away";

/** What people ask for and nobody here can do, and why. */
const CANNOT_BE: Readonly<Record<string, string>> = {
  "packet-loss": NO_PACKETS,
  loss: NO_PACKETS,
  corrupt: NO_PACKETS,
  corruption: NO_PACKETS,
  duplicate: NO_PACKETS,
  "full-disk": "io-error:<host>,promises,full has an agent's disk full; fill:<host>,shm leaves no room on /dev/shm",
  eio: "it is io-error:<host>,promises or io-error:<host>,memory",
};

/**
 * Reads a fault as it is typed.
 * @param index which of the scenario's faults it is: what it is healed after is itself
 * @throws GrammarError that says where it is wrong, and what ought to stand there
 */
export function parseFault(text: string, index: number): FaultPlan {
  const cursor = new Cursor(text);
  const why = Object.entries(CANNOT_BE).find(([name]) => new RegExp(`^${name}\\b`).test(text))?.[1];
  if (why !== undefined) cursor.fails(why);
  const name = cursor.word(FAULT_NAMES, "a fault");
  const fault = readSpec(cursor, name);
  cursor.needs("@", '"@" is needed, and when it strikes, such as @pages=30%');
  const at = readTrigger(cursor);
  if (cursor.done) return { fault, at };
  cursor.needs("..heal=", '"+" and a time, "..heal=" and a time or a moment, or nothing more may stand here');
  const after = /^\d/.test(text.slice(cursor.at));
  const place = cursor.at;
  const heal = after ? ({ on: "fault", index, after_ms: DURATION.read(cursor) } as const) : readTrigger(cursor);
  if (after && heal.after_ms === 0) cursor.fails("what is healed at once was never broken", place);
  if (!cursor.done) cursor.fails("nothing more may stand here");
  return { fault, at, heal };
}

function readSpec(cursor: Cursor, fault: FaultSpec["fault"]): FaultSpec {
  const parts = PARTS[fault];
  const usage = usageOf(fault);
  const spec: Record<string, JsonValue> = { fault };
  cursor.needs(":", `":" is needed, and where: ${usage}`);
  const { at } = cursor;
  let first = true;
  for (const part of parts) {
    const before = cursor.at;
    // The comma belongs to the part that it stands in front of.
    const apart = first || cursor.takes(",");
    const found = apart ? readPart(cursor, part) : undefined;
    if (found !== undefined) {
      spec[part.key] = found;
      first = false;
      continue;
    }
    cursor.goBack(before);
    if (part.absent === undefined) cursor.fails(`${part.what} is needed: ${usage}`);
    if (part.absent !== "left-out") spec[part.key] = part.absent.means;
  }
  if (cursor.takes(",")) cursor.fails(`this is no part of it, or not in its place: ${usage}`);
  const parsed = faultSchema.safeParse(spec);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  return cursor.fails(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "wrong"}`.replace(/^: /, ""), at);
}

function readPart(cursor: Cursor, { words, name, value: read, flag: isFlag }: Part): JsonValue | undefined {
  if (words !== undefined) {
    const found = words.find((each) => cursor.takesWord(each));
    return found === undefined ? undefined : isFlag === true ? true : found;
  }
  if (name !== undefined && !cursor.takes(`${name}=`)) return undefined;
  return read?.read(cursor);
}

/** As it is typed; of a fault of somebody else's, which cannot be, its name and where it strikes. */
export function printFault({ fault, at, heal }: FaultPlan, index: number): string {
  const own = heal?.on === "fault" && heal.index === index && heal.after_ms !== undefined;
  const healing = heal === undefined ? "" : `..heal=${own ? DURATION.print(heal.after_ms ?? 0) : printTrigger(heal)}`;
  return `${isOwnFault(fault) ? `${fault.fault}:${fault.on}` : printSpec(fault)}@${printTrigger(at)}${healing}`;
}

function printSpec(fault: FaultSpec): string {
  const spec: Readonly<Record<string, JsonValue | undefined>> = { ...fault };
  const parts = PARTS[fault.fault].flatMap(({ key, words, name, value: printed, flag: isFlag, absent }) => {
    const found = spec[key];
    if (found === undefined || (typeof absent === "object" && absent.means === found)) return [];
    if (words !== undefined) return isFlag === true ? words.slice(0, 1) : [String(found)];
    return `${name === undefined ? "" : `${name}=`}${printed?.print(found as never) ?? ""}`;
  });
  return `${fault.fault}:${parts.join(",")}`;
}

/** How a fault is typed, with what may be absent in brackets. */
export function usageOf(fault: FaultSpec["fault"]): string {
  const parts = PARTS[fault].map(({ key, words, name, absent, flag: isFlag }, at) => {
    const typed =
      words !== undefined
        ? isFlag === true
          ? (words[0] ?? "")
          : words.join("|")
        : name === undefined
          ? `<${key}>`
          : `${name}=…`;
    const comma = at === 0 ? "" : ",";
    return absent === undefined ? `${comma}${typed}` : `[${comma}${typed}]`;
  });
  return `${fault}:${parts.join("")}`;
}
