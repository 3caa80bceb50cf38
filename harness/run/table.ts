import { quantileSorted } from "d3-array";
import { expectedText, type RunRecord, underText } from "../base/run-record.ts";

/** A plain-text table of runs for the end of a command. */
export function verdictTable(records: readonly RunRecord[]): string {
  const rows = records.map((record) => [
    record.scenario,
    record.recovery,
    record.manager ?? "-",
    `${record.guest}/${record.accel}`,
    record.qemu_version
      .split(" to ")
      .map((version) => version.split(" ")[0])
      .join(" to "),
    record.verdict,
    record.as_expected ? "as expected" : `expected ${expectedText(record)}`,
    `${(record.timings.total_ms / 1000).toFixed(1)} s`,
  ]);
  return textTable(["scenario", "recovery", "manager", "guest", "QEMU", "verdict", "", "time"], rows);
}

/** One line for all runs of a scenario: how often it came out as expected, and times as median / worst. */
export function repeatTable(records: readonly RunRecord[]): string {
  const groups = Map.groupBy(records, (record) => `${record.scenario} ${underText(record)} ${record.qemu}`);
  const rows = [...groups.values()].map((group) => {
    const [first] = group;
    const of = (pick: (timings: RunRecord["timings"]) => number | undefined, unit: string): string => {
      const values = group.flatMap(({ timings }) => pick(timings) ?? []).sort((a, b) => a - b);
      if (values.length === 0) return "-";
      return `${Math.round(quantileSorted(values, 0.5) ?? 0)} / ${Math.round(values.at(-1) ?? 0)}${unit}`;
    };
    return [
      first?.scenario ?? "",
      first?.recovery ?? "",
      first?.manager ?? "-",
      first?.qemu ?? "",
      `${group.filter(({ as_expected }) => as_expected).length} of ${group.length}`,
      of(({ detect_ms }) => detect_ms, " ms"),
      of(({ recover_ms }) => recover_ms, " ms"),
      of(({ downtime_ms }) => downtime_ms, " ms"),
      of(({ lost_steps }) => lost_steps, ""),
      of(({ pause_p50_ms }) => pause_p50_ms, " ms"),
      of(({ pause_p99_ms }) => pause_p99_ms, " ms"),
      of(({ control_late_max_ms }) => control_late_max_ms, " ms"),
      of(({ agent_rss_max_mib }) => agent_rss_max_mib, " MiB"),
      String(group.filter(({ tries = 1 }) => tries > 1).length),
    ];
  });
  const heading = [
    "scenario",
    "recovery",
    "manager",
    "QEMU",
    "as expected",
    "detected",
    "restored",
    "stillness",
    "steps lost",
    "pause p50",
    "pause p99",
    "agents late",
    "agent memory",
    "asked again",
  ];
  return textTable(heading, rows);
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
