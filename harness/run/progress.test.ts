import { Writable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { TimelineEvent, TimelineEventBody } from "../base/timeline.ts";
import { makeRecord } from "./make-record.ts";
import { makeProgress } from "./progress.ts";

/** A terminal that understands what makeProgress sends: lines, cursor up, erase to the end. */
class Screen extends Writable {
  readonly isTTY: boolean;
  readonly columns: number;
  readonly lines: string[] = [];
  raw = "";

  constructor({ isTTY, columns = 100 }: { isTTY: boolean; columns?: number }) {
    super();
    this.isTTY = isTTY;
    this.columns = columns;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.raw += chunk.toString();
    const esc = String.fromCharCode(27);
    let rest = chunk.toString();
    while (rest !== "") {
      const up = rest.startsWith(`${esc}[`) ? /^.\[(\d+)A.\[0J/.exec(rest) : null;
      if (up) {
        this.lines.splice(this.lines.length - Number(up[1]));
        rest = rest.slice(up[0].length);
        continue;
      }
      const end = rest.indexOf("\n");
      this.lines.push(rest.slice(0, end));
      rest = rest.slice(end + 1);
    }
    done();
  }
}

const at = (body: TimelineEventBody): TimelineEvent => ({ at_ms: 1, lane: "run", ...body });
const phase = (name: "boot" | "migrate"): TimelineEvent => at({ kind: "run.phase", phase: name });
const pages = (pages_arrived: number, pages_total: number): TimelineEvent =>
  at({
    kind: "migration.progress",
    transferred_bytes: 0,
    remaining_bytes: 0,
    total_bytes: 0,
    pages_arrived,
    pages_total,
    pages_requested: 0,
  });
const on = (screen: Screen, quiet = false) => makeProgress(screen as unknown as NodeJS.WriteStream, quiet);

describe("progress", () => {
  it("has a line for each run that goes on, and one for each that is over", () => {
    const screen = new Screen({ isTTY: true });
    const progress = on(screen);
    progress.onEvent("a stock", phase("boot"));
    progress.onEvent("b stock", phase("migrate"));
    progress.onEvent(
      "a stock",
      at({ kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "kill-host: source" }),
    );
    expect(screen.lines).toHaveLength(2);
    expect(screen.lines[0]).toMatch(/a stock .*boot .*! kill-host: source/);
    progress.onFinished(
      "a stock",
      makeRecord({ scenario: "a", verdict: "lost", why: "the source is dead\nlast lines" }),
    );
    expect(screen.lines).toHaveLength(2);
    expect(screen.lines[0]).toMatch(/^ok +a stock +lost +4\.2 s +the source is dead$/);
    expect(screen.lines[1]).toMatch(/b stock .*migrate/);
    progress.close();
    expect(screen.lines).toHaveLength(1);
  });

  it("takes away the line of the run that finished, where several of one scenario go on", () => {
    const screen = new Screen({ isTTY: true });
    const progress = on(screen);
    for (const turn of [1, 2, 10]) progress.onEvent(`a stock ${turn}`, phase("boot"));
    progress.onFinished("a stock 10", makeRecord({ scenario: "a" }));
    expect(screen.lines.filter((line) => line.includes("boot"))).toHaveLength(2);
    expect(screen.lines.some((line) => /a stock 10 .*boot/.test(line))).toBe(false);
    progress.onFinished("a stock 2", makeRecord({ scenario: "a" }));
    expect(screen.lines.filter((line) => line.includes("boot"))).toEqual([expect.stringMatching(/a stock 1 /)]);
  });

  it("says what a run waits for: on its line until something moves, and as a line of its own elsewhere", () => {
    const waiting = at({
      kind: "run.waiting",
      what: "the target to have every page",
      moved: "7 of 9",
      quiet_ms: 4_000,
    });
    const screen = new Screen({ isTTY: true, columns: 200 });
    const progress = on(screen);
    progress.onEvent("a", waiting);
    expect(screen.lines).toEqual([expect.stringContaining("(waiting for the target to have every page)")]);
    progress.onEvent("a", pages(8, 9));
    expect(screen.lines[0]).not.toContain("waiting");
    const log = new Screen({ isTTY: false });
    on(log).onEvent("a stock", waiting);
    expect(log.lines[0]).toMatch(
      /^ +a stock .* s: waiting for the target to have every page \(7 of 9, quiet for 4 s\)$/,
    );
  });

  it("says how often a migration had to be asked for", () => {
    const screen = new Screen({ isTTY: false });
    on(screen).onFinished("a txsync", makeRecord({ tries: 2 }));
    expect(screen.lines).toEqual([expect.stringMatching(/\(asked to migrate 2 times\)$/)]);
  });

  it("marks a run that is not as expected", () => {
    const screen = new Screen({ isTTY: false });
    on(screen).onFinished("a stock", makeRecord({ as_expected: false, verdict: "corrupt" }));
    expect(screen.lines).toEqual([expect.stringMatching(/^FAIL a stock +corrupt/)]);
  });

  it("draws a bar of the same width whatever the counts are", () => {
    fc.assert(
      fc.property(fc.nat(200_000), fc.nat(100_000), (arrived, total) => {
        const screen = new Screen({ isTTY: true });
        on(screen).onEvent("a", pages(arrived, total));
        expect(screen.lines[0]).toMatch(/ \[[#.]{20}\] +(\d|\d\d|100) %/);
      }),
    );
  });

  it("never wraps a line, however narrow the terminal", () => {
    fc.assert(
      fc.property(fc.integer({ min: 10, max: 200 }), fc.string({ maxLength: 80 }), (columns, text) => {
        const screen = new Screen({ isTTY: true, columns });
        const what = text.replaceAll(/\s/g, "_");
        on(screen).onEvent("a", at({ kind: "fault.injected", fault: "kill-host", id: "fault-0", what }));
        expect(screen.lines.every((line) => line.length < columns)).toBe(true);
      }),
    );
  });

  it("sends no escape sequence to what is not a terminal, and nothing at all when quiet", () => {
    const log = new Screen({ isTTY: false });
    const progress = on(log);
    progress.onEvent("a", pages(1, 2));
    progress.onFinished("a stock", makeRecord());
    progress.close();
    expect(log.raw.includes(String.fromCharCode(27))).toBe(false);
    const silent = new Screen({ isTTY: true });
    const quiet = on(silent, true);
    quiet.onEvent("a", pages(1, 2));
    quiet.onFinished("a stock", makeRecord());
    quiet.close();
    expect(silent.raw).toBe("");
  });
});
