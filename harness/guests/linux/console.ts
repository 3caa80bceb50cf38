/** Names of the guest's parts that count rounds in a step line (`fixtures/guests/linux/src/parts.c`). */
export const LINUX_PARTS = ["pipe", "stack", "file", "spawn"] as const;
export type LinuxPart = (typeof LINUX_PARTS)[number];

/**
 * How bad a kernel message is: `panic` the guest has stopped; `oops` the kernel found its own state damaged;
 * `warning` a WARN; `process` a process of the guest crashed, although none of them should.
 */
export type TroubleSeverity = "panic" | "oops" | "warning" | "process";

/** What the console said. Times are ms of the guest's own clock since its boot. */
export type LinuxConsoleEvent =
  | {
      readonly kind: "boot";
      readonly kernel: string;
      readonly pattern_bytes: number;
      /** Decimal: all 64 bits are allowed. */
      readonly seed: string;
      readonly workers: number;
      readonly pages: number;
      readonly uptime_ms: number;
    }
  | {
      readonly kind: "step";
      /** Page rewrites since boot. */
      readonly n: number;
      readonly errors: number;
      readonly checked: number;
      readonly uptime_ms: number;
      /** The wall clock, since 1970. */
      readonly wall_ms?: number;
      readonly rounds: Readonly<Record<LinuxPart, number>>;
    }
  /** A page of the pattern is not what the guest knows it to be. */
  | {
      readonly kind: "bad-page";
      readonly page: number;
      /** stale, future, zero, torn, other-page, table, flicker */
      readonly how: string;
      readonly fields: Readonly<Record<string, string>>;
    }
  /** Something other than the pattern is damaged: pipe, stack, file, clock, process, ... */
  | { readonly kind: "bad-part"; readonly part: string; readonly fields: Readonly<Record<string, string>> }
  /** The guest can not do what its command line asks. */
  | { readonly kind: "fail"; readonly reason: string }
  /** At once when the first line is seen. */
  | { readonly kind: "trouble"; readonly severity: TroubleSeverity; readonly title: string }
  /** When the kernel's report is over, or as much of it as is kept; the title is its first line. */
  | { readonly kind: "trouble-excerpt"; readonly title: string; readonly lines: readonly string[] }
  /** A line of ours that can not be read: console output was damaged. */
  | { readonly kind: "malformed"; readonly text: string }
  | { readonly kind: "line"; readonly text: string };

const PREFIX = "FERRYMAN-LINUX ";
/** A line longer than this is cut; the rest of it is dropped. */
export const CONSOLE_LINE_BYTES_MAX = 2048;
/** Lines kept of one kernel report. */
export const EXCERPT_LINES_MAX = 60;

const TROUBLE: readonly (readonly [TroubleSeverity, RegExp])[] = [
  ["panic", /(?<!end )Kernel panic - not syncing/],
  [
    "oops",
    /\b(?:BUG: |Oops: |general protection fault|unable to handle kernel|kernel BUG at|double fault|kernel stack overflow|stack guard page was hit|corrupted stack end|list_(?:add|del) corruption|Bad (?:page|swap|rss)|invalid opcode: |divide error: |stack segment: |PANIC: )/,
  ],
  ["warning", /\bWARNING: CPU: /],
  ["process", /\b(?:segfault at |traps: \S+ (?:trap |general protection))/],
];

/**
 * Reads the Linux guest's console (ttyS0) as it comes, in pieces of any size and with any bytes in them. Keeps at most
 * one line and one excerpt. Never throws on input.
 *
 * Line formats: `fixtures/guests/linux/README.md`. Our lines go through the kernel's log, so they carry its time stamp
 * and are whole even while the kernel reports something itself.
 */
export class LinuxConsoleParser {
  readonly #line = Buffer.alloc(CONSOLE_LINE_BYTES_MAX);
  #length = 0;
  #excerpt: { readonly title: string; readonly lines: string[] } | undefined;

  push(chunk: Uint8Array): LinuxConsoleEvent[] {
    const events: LinuxConsoleEvent[] = [];
    for (const byte of chunk) {
      if (byte === 0x0a) this.#endLine(events);
      else if (this.#length < CONSOLE_LINE_BYTES_MAX) this.#line[this.#length++] = byte;
    }
    return events;
  }

  /** The console is over: the last line without an end, and the open excerpt. */
  end(): LinuxConsoleEvent[] {
    const events: LinuxConsoleEvent[] = [];
    if (this.#length > 0) this.#endLine(events);
    this.#endExcerpt(events);
    return events;
  }

  #endLine(events: LinuxConsoleEvent[]): void {
    const text = printable(this.#line.toString("latin1", 0, this.#length));
    this.#length = 0;
    if (text === "") return;
    const at = text.indexOf(PREFIX);
    if (at >= 0) {
      events.push(readOurLine(text.slice(at + PREFIX.length)) ?? { kind: "malformed", text });
      return;
    }
    events.push({ kind: "line", text });
    const severity = TROUBLE.find(([, pattern]) => pattern.test(text))?.[0];
    // A panic is news even within an oops; the other reports repeat themselves in their own excerpt.
    if (severity !== undefined && (this.#excerpt === undefined || severity === "panic")) {
      this.#endExcerpt(events);
      events.push({ kind: "trouble", severity, title: text });
      this.#excerpt = { title: text, lines: [] };
    }
    if (this.#excerpt === undefined) return;
    this.#excerpt.lines.push(text);
    if (/---\[ end /.test(text) || this.#excerpt.lines.length >= EXCERPT_LINES_MAX) this.#endExcerpt(events);
  }

  #endExcerpt(events: LinuxConsoleEvent[]): void {
    if (this.#excerpt === undefined) return;
    events.push({ kind: "trouble-excerpt", ...this.#excerpt });
    this.#excerpt = undefined;
  }
}

/** `name=value` words, as the guest's console and control lines carry them; other words are ignored. */
export function readFields(text: string): Readonly<Record<string, string>> {
  const fields: Record<string, string> = Object.create(null);
  for (const word of text.split(" ")) {
    const equals = word.indexOf("=");
    if (equals > 0) fields[word.slice(0, equals)] = word.slice(equals + 1);
  }
  return fields;
}

/** A whole, safe, non-negative decimal number, or undefined. */
export function readCount(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

function readOurLine(text: string): LinuxConsoleEvent | undefined {
  const word = text.split(" ", 1)[0] ?? "";
  const fields = readFields(text.slice(word.length));
  switch (word) {
    case "boot": {
      const { kernel, seed } = fields;
      const mem_mib = readCount(fields["mem"]);
      const workers = readCount(fields["workers"]);
      const pages = readCount(fields["pages"]);
      const uptime_ms = readCount(fields["uptime"]);
      if (kernel === undefined || seed === undefined || !/^\d{1,20}$/.test(seed)) return undefined;
      if (mem_mib === undefined || workers === undefined || pages === undefined || uptime_ms === undefined) {
        return undefined;
      }
      return { kind: "boot", kernel, pattern_bytes: mem_mib * 1024 * 1024, seed, workers, pages, uptime_ms };
    }
    case "step": {
      const n = readCount(fields["n"]);
      const errors = readCount(fields["errors"]);
      const checked = readCount(fields["checked"]);
      const uptime_ms = readCount(fields["uptime"]);
      if (n === undefined || errors === undefined || checked === undefined || uptime_ms === undefined) return undefined;
      const rounds: Record<LinuxPart, number> = { pipe: 0, stack: 0, file: 0, spawn: 0 };
      for (const part of LINUX_PARTS) {
        const count = readCount(fields[part]);
        if (count === undefined) return undefined;
        rounds[part] = count;
      }
      const wall_ms = readCount(fields["wall"]);
      return { kind: "step", n, errors, checked, uptime_ms, ...(wall_ms === undefined ? {} : { wall_ms }), rounds };
    }
    case "BAD": {
      const { part, kind } = fields;
      if (part !== undefined) return { kind: "bad-part", part, fields };
      const page = readCount(fields["page"]);
      return page === undefined || kind === undefined ? undefined : { kind: "bad-page", page, how: kind, fields };
    }
    case "FAIL":
      return { kind: "fail", reason: fields["reason"] ?? "unknown" };
    case "note":
      return { kind: "line", text: `${PREFIX}${text}` };
    default:
      return undefined;
  }
}

/** Logs are shown to people and in reports: control characters do not get that far. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/\r+$/, "").replace(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
}
