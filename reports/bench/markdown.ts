import type { BenchResult } from "../../harness/bench/result.ts";
import { escaped } from "../markdown.ts";
import { aboutLines, tablesOf } from "./rows.ts";

/** The bench in GitHub's Markdown. */
export function benchMarkdown(result: BenchResult): string {
  const lines = [
    "## Ferryman bench",
    "",
    ...aboutLines(result).map((line) => `- ${escaped(line)}`),
    `- \`${result.command.replaceAll("`", "'")}\`, ${result.started_at} to ${result.finished_at}`,
    "",
    ...result.notes.map((note) => `> **${escaped(note)}**\n`),
    ...tablesOf(result).flatMap(({ title, hint, heading, rows }) => [
      `### ${title}`,
      "",
      escaped(hint),
      "",
      row(heading),
      row(heading.map(() => "---")),
      ...rows.map(row),
      "",
    ]),
  ];
  return `${lines.join("\n")}\n`;
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(escaped).join(" | ")} |`;
}
