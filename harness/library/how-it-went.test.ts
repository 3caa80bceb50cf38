import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeRecord } from "../run/make-record.ts";
import { howItWent } from "./how-it-went.ts";
import { isAsExpected } from "./matchers.ts";

let folder: string;
const EVENTS = [
  { at_ms: 5_000, lane: "fault", kind: "fault.injected", fault: "kill-host", id: "f", what: "kill-host: target" },
  { at_ms: 5_001, lane: "target", kind: "guest.progress", host: "target", cpu: 0, step: 7 },
  { at_ms: 6_000, lane: "run", kind: "run.settled", how: "restored", owner: "source" },
  { at_ms: 6_100, lane: "source", kind: "qemu.exited", code: null, last_lines: ["assertion failed"] },
  { at_ms: 6_200, lane: "source", kind: "log", stream: "agent", line: "the VM does not answer" },
];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-went-"));
  writeFileSync(
    join(folder, "timeline.ndjson"),
    `${EVENTS.map((event) => JSON.stringify(event)).join("\n")}\nhalf a li`,
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the story, and what hosts said of themselves until the end, in order", () => {
  const lines = howItWent(folder);
  expect(lines).toHaveLength(4);
  expect(lines[0]).toBe("    5.000 s  fault injected: kill-host: target");
  expect(lines[2]).toContain("source: QEMU exited by a signal: assertion failed");
  expect(lines[3]).toContain("the VM does not answer");
});

test("no more than 60 lines of bounded length, the last ones", () => {
  const long = mkdtempSync(join(tmpdir(), "ferryman-went-"));
  try {
    const line = (n: number): string =>
      JSON.stringify({ at_ms: n, lane: "source", kind: "log", stream: "agent", line: `${n} ${"x".repeat(999)}` });
    writeFileSync(join(long, "timeline.ndjson"), Array.from({ length: 6_000 }, (_, n) => line(n)).join("\n"));
    expect(readFileSync(join(long, "timeline.ndjson")).length).toBeGreaterThan(4 * 2 ** 20);
    const lines = howItWent(long);
    expect(lines).toHaveLength(60);
    expect(lines.at(-1)).toContain("5999 x");
    expect(Math.max(...lines.map(({ length }) => length))).toBe(240);
  } finally {
    rmSync(long, { recursive: true });
  }
});

test("a failed expectation tells it; a run without a timeline has none to tell", () => {
  const run = { record: makeRecord({ as_expected: false }), untidy: [], folder, report: "/r/index.html" };
  expect(isAsExpected(run).message()).toContain("how it went:\n      5.000 s  fault injected: kill-host: target");
  expect(howItWent(join(folder, "nowhere"))).toEqual([]);
  expect(isAsExpected({ ...run, folder: "/nowhere" }).message()).not.toContain("how it went");
});
