import type { RunRecord } from "../base/run-record.ts";

/** A plain-text table of runs for the end of a command. */
export function verdictTable(records: readonly RunRecord[]): string {
  const rows = records.map((record) => [
    record.scenario,
    record.recovery,
    `${record.guest}/${record.accel}`,
    record.qemu_version.split(" ")[0] ?? record.qemu_version,
    record.verdict,
    record.as_expected ? "as expected" : `expected ${record.expected}`,
    `${(record.timings.total_ms / 1000).toFixed(1)} s`,
  ]);
  return textTable(["scenario", "recovery", "guest", "QEMU", "verdict", "", "time"], rows);
}

/** Left-aligned columns under a ruled heading. */
export function textTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  return [line(heading), widths.map((width) => "-".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}
