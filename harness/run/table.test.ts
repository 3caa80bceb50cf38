import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makeRecord } from "./make-record.ts";
import { repeatTable, textTable, verdictTable } from "./table.ts";

describe("table", () => {
  it("keeps every cell, one row a line, the columns under their headings", () => {
    const word = fc.stringMatching(/^[a-z0-9]{1,12}$/);
    const row = fc.tuple(word, word, word);
    fc.assert(
      fc.property(row, fc.array(row, { maxLength: 6 }), (heading, rows) => {
        const lines = textTable(heading, rows).split("\n");
        expect(lines).toHaveLength(rows.length + 2);
        const starts = [...(lines[1] ?? "").matchAll(/-+/g)].map(({ index }) => index);
        for (const [i, cells] of [heading, null, ...rows].entries()) {
          const line = lines[i] ?? "";
          expect(line).toBe(line.trimEnd());
          for (const [column, cell] of (cells ?? []).entries())
            expect(line.startsWith(cell, starts[column])).toBe(true);
        }
      }),
    );
  });

  it("is a heading and its rule where there are no rows", () => {
    expect(textTable(["a", "bc"], [])).toBe("a  bc\n-  --");
  });

  it("says of a run what came out, and what was expected where that differs", () => {
    const table = verdictTable([
      makeRecord({ scenario: "no-fault", verdict: "intact" }),
      makeRecord({ scenario: "link-slow", manager: "libvirt", verdict: "corrupt", as_expected: false }),
    ]);
    expect(table).toMatch(/no-fault +stock +- +integrity\/tcg +10\.0\.13 +intact +as expected +4\.2 s/);
    expect(table).toMatch(/link-slow +stock +libvirt .* corrupt +expected intact/);
  });

  it("says of runs of a scenario how they came out, and how many had to be asked for again", () => {
    const timings = { total_ms: 1, pause_p50_ms: 4, pause_p99_ms: 9, control_late_max_ms: 12, agent_rss_max_mib: 80 };
    const table = repeatTable([makeRecord({ timings, tries: 1 }), makeRecord({ timings, tries: 2 })]);
    expect(table.split("\n")[0]).toMatch(/asked again$/);
    expect(table).toMatch(/no-fault +stock +- +10\.0 +2 of 2 .* 4 \/ 4 ms +9 \/ 9 ms +12 \/ 12 ms +80 \/ 80 MiB +1$/m);
  });
});
