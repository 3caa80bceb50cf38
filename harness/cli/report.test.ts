import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { RunRecord } from "../base/run-record.ts";
import { carryOut } from "./program.ts";
import { leaveFiles } from "./testing/leave-files.ts";

/** Runs of real parts, of which one came out intact and one lost, each as expected. */
const SAMPLES = join(import.meta.dirname, "../../reports/samples/v1");
const RUNS = ["judged-intact", "judged-lost"] as const;

let folder: string;
let stderr: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-wrecked-"));
  for (const run of RUNS) {
    cpSync(join(SAMPLES, run), join(folder, run), { recursive: true });
    writeFileSync(join(folder, run, "source-console.log"), "1.0 booted\n");
  }
  const suite = { version: 1, started_at: "2026-01-01T00:00:00.000Z", command: "ferryman run all", runs: RUNS };
  writeFileSync(join(folder, "suite.json"), JSON.stringify(suite));
  stderr = "";
  vi.spyOn(process.stdout, "write").mockImplementation(() => true);
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += String(text);
    return true;
  });
  process.exitCode = undefined;
});

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  rmSync(folder, { recursive: true, force: true });
});

/** What `ferryman report` ends with, and what it says on standard error. */
async function report(...words: readonly string[]): Promise<{ code: number; said: string }> {
  process.exitCode = undefined;
  stderr = "";
  const wrong = await carryOut(["report", ...words]);
  return { code: wrong ?? Number(process.exitCode ?? 0), said: stderr };
}

const textIn = (...path: readonly string[]): string => readFileSync(join(folder, ...path), "utf8");

/** Every way in which a file can be no file of a run. */
const WRECKS: Readonly<Record<string, (path: string) => void>> = {
  missing: (path) => rmSync(path),
  empty: (path) => writeFileSync(path, ""),
  "{}": (path) => writeFileSync(path, "{}"),
  "random bytes": (path) =>
    writeFileSync(path, Buffer.from(Array.from({ length: 3_000 }, (_, at) => (at * 7_919 + (at >> 3) * 31) & 0xff))),
  "a directory": (path) => {
    rmSync(path);
    mkdirSync(path);
  },
};

const WRECKED = ["run.json", "timeline.ndjson", "evidence.json"].flatMap((file) =>
  Object.keys(WRECKS).map((wreck) => [file, wreck] as const),
);

test("of whole runs a report is made, and that is success", async () => {
  expect(await report(folder)).toEqual({ code: 0, said: "" });
  expect(textIn("index.html")).toContain("2 of 2 runs as expected");
  expect(await report(join(folder, "judged-lost"))).toEqual({ code: 0, said: "" });
  expect(textIn("judged-lost", "index.html")).toContain("As expected");
});

describe.each(WRECKED)("%s %s", (file, wreck) => {
  test("makes the run one that is not whole, whoever looks at it", async () => {
    const run = join(folder, "judged-lost");
    await report(folder);
    WRECKS[wreck]?.(join(run, file));
    const alone = await report(run);
    expect(alone.code, alone.said).toBe(1);
    expect(alone.said).toContain(file);
    expect(alone.said).not.toMatch(/^ +at /m);
    expect(textIn("judged-lost", "index.html")).not.toMatch(/As expected/);
    expect(textIn("judged-lost", "index.html")).toContain("This report is not whole");
    const suite = await report(folder);
    expect(suite.code, suite.said).toBe(1);
    for (const name of ["judged-lost", file]) expect(suite.said).toContain(name);
    expect(textIn("index.html")).toContain("1 of 2 runs as expected");
    expect(textIn("index.html")).toContain("This suite is not whole");
    expect(textIn("judged-lost", "index.html")).not.toMatch(/As expected/);
    expect(textIn("junit.xml")).toMatch(/errors="[1-9]/);
    expect(textIn("summary.md")).toContain("Not whole");
    expect(textIn("runs.ndjson")).not.toMatch(/lost.*"asExpected":true/);
  });
});

/** What a run under txsync leaves beside what it is judged by. */
const LEFT = {
  "source-agent.log": "2.0 agent-pid 25\n",
  "source-console.log": "1.0 booted\n",
  "source-qmp.log": "1.0 -> {}\n",
  "target-console.log": "2.0 running\n",
  "escrow-log/txlog-00000000": "records",
};

test("a run whose logs are as it left them is whole", async () => {
  await leaveFiles(join(folder, "judged-lost"), LEFT);
  expect(await report(folder)).toEqual({ code: 0, said: "" });
});

test.each(Object.keys(LEFT))(
  "a run that left %s, which is missing, is not whole: it is said in a sentence",
  async (name) => {
    const run = join(folder, "judged-lost");
    await leaveFiles(run, LEFT);
    rmSync(join(run, name));
    const alone = await report(run);
    expect(alone.code, alone.said).toBe(1);
    expect(alone.said).toBe(`not whole: ${run} is not of one piece: missing of what the run left: ${name}\n`);
    expect(textIn("judged-lost", "index.html")).not.toMatch(/As expected/);
    expect((await report(folder)).code).toBe(1);
    expect(textIn("index.html")).toContain("1 of 2 runs as expected");
    expect(textIn("index.html")).toContain(`missing of what the run left: ${name}`);
  },
);

test("all that is missing is one sentence, and what is cut short or a directory another", async () => {
  const run = join(folder, "judged-lost");
  await leaveFiles(run, LEFT);
  for (const name of ["source-agent.log", "escrow-log"]) rmSync(join(run, name), { recursive: true });
  writeFileSync(join(run, "source-qmp.log"), "");
  WRECKS["a directory"]?.(join(run, "target-console.log"));
  const { code, said } = await report(run);
  expect(code).toBe(1);
  expect(said).toContain("missing of what the run left: escrow-log/txlog-00000000, source-agent.log\n");
  expect(said).toContain(
    "not as the run left it: source-qmp.log (0 bytes, 10 when the run ended), target-console.log (no file any more)\n",
  );
});

test.each(["missing", "empty", "random bytes"])(
  "of a run that did not write down what it left, a log that is %s is no error",
  async (wreck) => {
    WRECKS[wreck]?.(join(folder, "judged-lost", "source-console.log"));
    expect(await report(folder)).toEqual({ code: 0, said: "" });
  },
);

test("a directory that has the name of a log is said, and no stack trace", async () => {
  WRECKS["a directory"]?.(join(folder, "judged-lost", "source-console.log"));
  const { code, said } = await report(join(folder, "judged-lost"));
  expect(code).toBe(1);
  expect(said).toMatch(/source-console\.log is a directory/);
});

test.each(Object.keys(WRECKS))(
  "a suite.json that is %s: the runs that are there, and nobody says that they are all",
  async (wreck) => {
    WRECKS[wreck]?.(join(folder, "suite.json"));
    const { code, said } = await report(folder);
    expect(textIn("index.html")).toContain("2 of 2 runs as expected");
    // A folder of runs needs none.
    expect(code).toBe(wreck === "missing" ? 0 : 1);
    expect(said.includes("suite.json")).toBe(wreck !== "missing");
  },
);

test("a run that is not there any more is named", async () => {
  rmSync(join(folder, "judged-lost"), { recursive: true });
  const { code, said } = await report(folder);
  expect(code).toBe(1);
  expect(said).toMatch(/judged-lost/);
});

test("a suite of which nothing can be read is shown as that, not as it was", async () => {
  await report(folder);
  for (const run of RUNS) writeFileSync(join(folder, run, "run.json"), "{}");
  const { code } = await report(folder);
  expect(code).toBe(1);
  expect(textIn("index.html")).toContain("0 of 2 runs as expected");
});

test("what an earlier suite lacks is said, for the comparison lacks it too", async () => {
  const earlier = join(folder, "earlier");
  mkdirSync(earlier);
  for (const run of RUNS) cpSync(join(SAMPLES, run), join(earlier, run), { recursive: true });
  expect(await report(folder, "--against", earlier)).toEqual({ code: 0, said: "" });
  writeFileSync(join(earlier, "judged-lost", "run.json"), "{}");
  const { code, said } = await report(folder, "--against", earlier);
  expect(code).toBe(1);
  expect(said).toMatch(/the earlier suite: .*run\.json/);
});

test("what is no earlier suite is refused in a sentence", async () => {
  const nowhere = await report(folder, "--against", join(folder, "nowhere"));
  expect(nowhere).toEqual({
    code: 2,
    said: expect.stringMatching(/^ferryman: no folder .*nowhere: name a suite's[^\n]*\n$/),
  });
  const run = await report(folder, "--against", join(folder, "judged-lost"));
  expect(run).toEqual({
    code: 2,
    said: expect.stringMatching(/judged-lost is one run's: name the folder in which it lies\n$/),
  });
});

/** Somebody would have a run be another than it was. */
const EDITS: readonly (readonly [string, (record: RunRecord) => object])[] = [
  ["its verdict", (record) => ({ ...record, verdict: "intact", expected: "intact" })],
  ["that it was expected", (record) => ({ ...record, as_expected: false })],
  ["its seed", (record) => ({ ...record, seed: 1 })],
  ["its faults", (record) => ({ ...record, faults: [] })],
  ["a check's result", (record) => ({ ...record, checks: record.checks.map((one) => ({ ...one, verdict: true })) })],
  ["which evidence it was judged by", ({ evidence_sha256: _, ...record }) => record],
];

test.each(EDITS)("where %s was edited in run.json, nothing follows from the run", async (_, edit) => {
  const file = join(folder, "judged-lost", "run.json");
  writeFileSync(file, JSON.stringify(edit(JSON.parse(readFileSync(file, "utf8")))));
  const alone = await report(join(folder, "judged-lost"));
  expect(alone.code, alone.said).toBe(1);
  expect(alone.said).toContain("run.json");
  expect(textIn("judged-lost", "index.html")).not.toMatch(/As expected/);
  expect((await report(folder)).code).toBe(1);
  expect(textIn("index.html")).toContain("1 of 2 runs as expected");
  expect(textIn("runs.ndjson")).toMatch(/"scenario":"no-fault".*"verdict":"unknown".*"asExpected":false/);
});

test("a timeline that ends before its verdict is not whole", async () => {
  const file = join(folder, "judged-lost", "timeline.ndjson");
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  writeFileSync(file, `${lines.slice(0, -1).join("\n")}\n`);
  const { code, said } = await report(join(folder, "judged-lost"));
  expect(code).toBe(1);
  expect(said).toMatch(/timeline\.ndjson/);
});

test("whatever bytes stand in whatever file: a sentence, a page that says so, and never success", async () => {
  const files = fc.constantFrom("run.json", "timeline.ndjson", "evidence.json");
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map(Buffer.from),
    fc.json().map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(files, content, async (file, bytes) => {
      const path = join(folder, "judged-lost", file);
      const whole = readFileSync(path);
      writeFileSync(path, bytes);
      const { code, said } = await report(join(folder, "judged-lost"));
      writeFileSync(path, whole);
      expect(code).toBe(1);
      expect(said).not.toMatch(/^ +at /m);
      expect(textIn("judged-lost", "index.html")).not.toMatch(/As expected/);
    }),
    { numRuns: 60 },
  );
});

test("a run of before there was evidence is drawn as it was", async () => {
  const run = join(folder, "old");
  cpSync(join(SAMPLES, "txsync-intact"), run, { recursive: true });
  expect(await report(run)).toEqual({ code: 0, said: "" });
  expect(textIn("old", "index.html")).toContain("As expected");
  writeFileSync(join(run, "timeline.ndjson"), "");
  expect((await report(run)).code).toBe(1);
  expect(textIn("old", "index.html")).not.toMatch(/As expected/);
});
