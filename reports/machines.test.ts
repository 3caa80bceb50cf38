import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareSuites } from "./compare.ts";
import { runLine } from "./json/ndjson.ts";
import { junitOf } from "./junit.ts";
import { appendStepSummary, escaped, markdownOf } from "./markdown.ts";
import { matrixOf } from "./matrix.ts";
import type { SuiteRun } from "./read.ts";
import { HOSTILE_LINE, sampleRun, sampleSuite } from "./samples/generate.ts";
import { temporaryFolder } from "./samples/temporary-folder.ts";

const runs = (repeat: number): SuiteRun[] => sampleSuite(repeat).map(({ record }) => ({ path: record.id, record }));

describe("JUnit XML", () => {
  it("counts a run that is not as expected as failed, and a broken harness as an error", () => {
    const { record } = sampleRun({ outcome: "corrupt" });
    const xml = junitOf([
      { path: "a", record },
      { path: "b", record: { ...record, error: "docker went away" } },
      { path: "c", record: sampleRun().record },
    ]);
    expect(xml).toContain('tests="3" failures="1" errors="1"');
    expect(xml).toContain("docker went away");
    expect(xml).toContain("verdict corrupt, expected intact");
  });

  it("has an error for each thing that is missing of the suite: one that is not whole never passes", () => {
    const xml = junitOf([{ path: "c", record: sampleRun().record }], "ferryman", [
      "part 2 of 3 is missing",
      "<b> is torn",
    ]);
    expect(xml).toContain('<testsuites name="ferryman" tests="3" failures="0" errors="2"');
    expect(xml).toContain('<testsuite name="ferryman whole" tests="2" failures="0" errors="2"');
    expect(xml).toContain('<error message="part 2 of 3 is missing" type="missing">part 2 of 3 is missing</error>');
    expect(xml).toContain("&lt;b&gt; is torn");
  });

  it("lets no character through that XML forbids or that would end the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (why) => {
        const { record } = sampleRun({ outcome: "corrupt" });
        const xml = junitOf([{ path: "a", record: { ...record, why, scenario: why } }]);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not be there
        expect(xml).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/);
        expect(xml.isWellFormed()).toBe(true);
        const names = [...xml.matchAll(/<\/?([A-Za-z-]+)/g)].map((tag) => tag[1]);
        expect(new Set(names)).toEqual(
          new Set(["testsuites", "testsuite", "testcase", "properties", "property", "failure", "system-out"]),
        );
      }),
    );
  });
});

describe("Markdown", () => {
  it("puts what is not as expected first, with the command that runs it again", () => {
    const text = markdownOf(runs(3));
    expect(text.startsWith("## Ferryman: 29 of 30 runs as expected")).toBe(true);
    expect(text.indexOf("run it again: `npx tsx")).toBeLessThan(text.indexOf("### What broke"));
  });

  it("is no success where something is missing, and says what before all else", () => {
    const well = [{ path: "c", record: sampleRun().record }];
    expect(markdownOf(well)).toContain("1 of 1 runs as expected ✓");
    const text = markdownOf(well, undefined, ["part 2 of 3 is missing"]);
    expect(text).toMatch(/^## Ferryman: 1 of 1 runs as expected\n\n### ✗ Not whole\n\n- part 2 of 3 is missing\n/);
  });

  it("makes text from a log harmless", () => {
    expect(escaped(HOSTILE_LINE)).not.toMatch(/[<>|`[\]]/);
    fc.assert(fc.property(fc.string(), (text) => !/[<>|`*_[\]\n@]/.test(escaped(text))));
  });

  it("goes to GitHub's step summary where there is one", async () => {
    const path = join(await temporaryFolder(), "summary");
    expect(await appendStepSummary("hello", {})).toBe(false);
    expect(await appendStepSummary("hello", { GITHUB_STEP_SUMMARY: path })).toBe(true);
    expect(await readFile(path, "utf8")).toBe("hello\n");
  });
});

describe("suites", () => {
  it("the matrix holds every run once, whatever their order, and leads to one that is not as expected", () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(runs(3), { minLength: 1 }), (some) => {
        const cells = matrixOf(some).rows.flatMap((row) =>
          [...row.cells.values()].flatMap((cell) => [...cell.values()]),
        );
        expect(cells.flatMap((cell) => cell.runs.map((run) => run.path)).sort()).toEqual(
          some.map((run) => run.path).sort(),
        );
        for (const cell of cells) expect(cell.lead.record.as_expected).toBe(cell.as_expected);
      }),
    );
  });

  it("a comparison with itself finds nothing, with a worse suite what got worse", () => {
    expect(compareSuites(runs(2), runs(2))).toMatchObject({ cases: [], times: [], unchanged: 10 });
    const { cases } = compareSuites(runs(2), runs(3));
    expect(cases.map((change) => [change.kind, change.before, change.after])).toEqual([
      ["worse", "2 intact", "2 intact, 1 corrupt"],
    ]);
    expect(compareSuites(runs(3), runs(2)).cases.map((change) => change.kind)).toEqual(["better"]);
  });

  it("a run's line has the words of run --json", () => {
    const line = runLine({ path: "r", record: sampleRun().record });
    for (const key of [
      "scenario",
      "recovery",
      "accel",
      "qemu",
      "seed",
      "verdict",
      "asExpected",
      "checks",
      "timings",
      "run",
    ])
      expect(line).toHaveProperty(key);
  });
});
