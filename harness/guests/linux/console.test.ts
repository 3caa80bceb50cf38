import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CONSOLE_LINE_BYTES_MAX, EXCERPT_LINES_MAX, type LinuxConsoleEvent, LinuxConsoleParser } from "./console.ts";

const SAMPLE = `SeaBIOS (version 1.16.2)\r
[    1.576701] FERRYMAN-LINUX boot format=1 kernel=6.12.107+deb13-cloud-amd64 mem=32 seed=18446744073709551615 rate=2000 workers=2 pages=8192 uptime=1562\r
[    2.179588] FERRYMAN-LINUX step n=980 errors=0 checked=981 uptime=2166 pipe=112 stack=20 file=10 spawn=2\r
[    3.0] FERRYMAN-LINUX BAD page=17 kind=stale word=1 expected=0000001100000003 found=0000001100000002 version=3 found_version=2\r
[    3.1] FERRYMAN-LINUX BAD part=pipe turn=4 word=2 found=0\r
[    3.2] FERRYMAN-LINUX FAIL reason=worker-memory worker=1\r
[    3.3] BUG: unable to handle page fault for address: ffffc90000123000\r
[    3.4] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI\r
[    3.4] RIP: 0010:__run_timers+0x1/0x2\r
[    3.5] ---[ end trace 0000000000000000 ]---\r
[    3.6] Kernel panic - not syncing: Fatal exception in interrupt\r
[    3.7] ---[ end Kernel panic - not syncing: Fatal exception in interrupt ]---\r
`;

function parse(bytes: Uint8Array, cuts: readonly number[] = []): LinuxConsoleEvent[] {
  const parser = new LinuxConsoleParser();
  const events: LinuxConsoleEvent[] = [];
  let from = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    events.push(...parser.push(bytes.subarray(from, Math.max(from, cut))));
    from = Math.max(from, cut);
  }
  events.push(...parser.push(bytes.subarray(from)), ...parser.end());
  return events;
}

const bytesOf = (text: string) => Buffer.from(text, "latin1");
const news = (events: readonly LinuxConsoleEvent[]) => events.filter((event) => event.kind !== "line");

describe("LinuxConsoleParser", () => {
  it("reads boot, steps, damage and the kernel's own reports", () => {
    expect(news(parse(bytesOf(SAMPLE)))).toEqual([
      {
        kind: "boot",
        kernel: "6.12.107+deb13-cloud-amd64",
        pattern_bytes: 32 * 1024 * 1024,
        seed: "18446744073709551615",
        workers: 2,
        pages: 8192,
        uptime_ms: 1562,
      },
      {
        kind: "step",
        n: 980,
        errors: 0,
        checked: 981,
        uptime_ms: 2166,
        rounds: { pipe: 112, stack: 20, file: 10, spawn: 2 },
      },
      expect.objectContaining({ kind: "bad-page", page: 17, how: "stale" }),
      expect.objectContaining({ kind: "bad-part", part: "pipe" }),
      { kind: "fail", reason: "worker-memory" },
      expect.objectContaining({ kind: "trouble", severity: "oops", title: expect.stringContaining("page fault") }),
      {
        kind: "trouble-excerpt",
        title: expect.stringContaining("page fault"),
        lines: expect.toSatisfy((lines: string[]) => lines.length === 4),
      },
      expect.objectContaining({ kind: "trouble", severity: "panic" }),
      expect.objectContaining({ kind: "trouble-excerpt", title: expect.stringContaining("Kernel panic") }),
    ]);
  });

  it("tells a crashed process and a warning from an oops", () => {
    const severities = (text: string) =>
      parse(bytesOf(text)).flatMap((event) => (event.kind === "trouble" ? [event.severity] : []));
    expect(severities("[ 1.0] init[80]: segfault at 0 ip 0 sp 0 error 4 in init\n")).toEqual(["process"]);
    expect(severities("[ 1.0] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x0/0x1\n")).toEqual(["warning"]);
    expect(severities("[ 1.0] tsc: Refined TSC clocksource calibration\n")).toEqual([]);
  });

  it("says the same however the bytes are cut", () => {
    const bytes = bytesOf(SAMPLE);
    const whole = parse(bytes);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: bytes.length }), { maxLength: 60 }), (cuts) => {
        expect(parse(bytes, cuts)).toEqual(whole);
      }),
    );
  });

  it("survives hostile bytes, and then still reads a good line", () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 6000 }),
      fc.string({ maxLength: 200 }).map((text) => bytesOf(`FERRYMAN-LINUX step n=${text}`)),
      fc.string({ maxLength: 200 }).map((text) => bytesOf(`FERRYMAN-LINUX BAD ${text}`)),
      fc.constant(bytesOf("Kernel panic - not syncing: ")),
      fc.constant(bytesOf("FERRYMAN-LINUX boot __proto__=1 constructor=2 kernel=x")),
    );
    fc.assert(
      fc.property(fc.array(hostile, { maxLength: 8 }), (pieces) => {
        const good = bytesOf(
          "\n[ 9.0] FERRYMAN-LINUX step n=5 errors=0 checked=5 uptime=9 pipe=1 stack=1 file=1 spawn=1\n",
        );
        const events = parse(Buffer.concat([...pieces, good]));
        expect(events.some((event) => event.kind === "step" && event.n === 5)).toBe(true);
        for (const event of events) {
          const text = JSON.stringify(event);
          // biome-ignore lint/suspicious/noControlCharactersInRegex: none of them may come through
          expect(/[\x00-\x08\x0b-\x1f]/.test(text)).toBe(false);
        }
      }),
    );
  });

  it("bounds a line and an excerpt", () => {
    const long = parse(bytesOf(`${"x".repeat(100_000)}\nshort\n`));
    expect(long).toEqual([
      { kind: "line", text: "x".repeat(CONSOLE_LINE_BYTES_MAX) },
      { kind: "line", text: "short" },
    ]);
    const excerpts = parse(bytesOf(`BUG: first\n${"more\n".repeat(500)}`)).filter((e) => e.kind === "trouble-excerpt");
    expect(excerpts).toHaveLength(1);
    expect(excerpts[0]?.lines).toHaveLength(EXCERPT_LINES_MAX);
  });

  it("names a line of ours that can not be read, instead of taking it for progress", () => {
    for (const line of [
      "step n=",
      "step n=1 errors=0 checked=1",
      "step n=99999999999999999999 errors=0",
      "BAD",
      "gone",
    ]) {
      expect(parse(bytesOf(`FERRYMAN-LINUX ${line}\n`)).map((event) => event.kind)).toEqual(["malformed"]);
    }
  });
});
