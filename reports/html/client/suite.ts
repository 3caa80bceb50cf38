/// <reference lib="dom" />
import uPlot from "uplot";
import { formatMs } from "../../model/format.ts";
import type { Distribution, SuiteData } from "../suite.ts";
import { makeCopyButtons } from "./copy.ts";
import { byId, embedded, oncePerFrame } from "./dom.ts";
import { readPalette } from "./paint.ts";

const HEIGHT = 180;

makeCopyButtons();
filterRuns();
for (const distribution of embedded<SuiteData>("suite-data").distributions) drawDistribution(distribution);
document.documentElement.dataset["ready"] = `${Math.round(performance.now())}`;

function filterRuns(): void {
  const search = byId("runs-search") as HTMLInputElement;
  const rows = [...byId("runs").children] as HTMLElement[];
  const filter = (): void => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = (row.textContent ?? "").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    byId("runs-count").textContent = `${shown} of ${rows.length} runs`;
  };
  search.addEventListener("input", filter);
  filter();
}

/** The share of runs that took at most so long, as steps. */
function drawDistribution({ id, series }: Distribution): void {
  const holder = document.querySelector<HTMLElement>(`[data-distribution="${id}"]`);
  const paths = uPlot.paths.stepped?.({ align: 1 });
  if (holder === null || paths === undefined) return;
  let palette = readPalette();
  const most = Math.max(...series.flatMap(({ values }) => values)) * 1.05 || 1;
  const tables = series.map(({ values }): uPlot.AlignedData => {
    const shares = values.map((_, index) => (index + 1) / values.length);
    return [
      [0, ...values, most],
      [0, ...shares, 1],
    ];
  });
  const axis = {
    stroke: () => palette.muted,
    grid: { stroke: () => palette.line, width: 1 },
    ticks: { stroke: () => palette.line, width: 1 },
    font: "11px system-ui, sans-serif",
  };
  const colour = (label: string): string => (label === "stock" ? palette.tones.warn : palette.tones.info);
  const plot = new uPlot(
    {
      width: holder.clientWidth,
      height: HEIGHT,
      padding: [8, 16, 0, 0],
      scales: { x: { time: false, range: [0, most] }, y: { range: [0, 1.02] } },
      cursor: { y: false, drag: { x: false, y: false } },
      axes: [
        {
          ...axis,
          space: 80,
          values: (_self, splits) => splits.map((value) => (value >= 1_000 ? `${value / 1_000} s` : `${value} ms`)),
        },
        { ...axis, size: 56, values: (_self, splits) => splits.map((value) => `${Math.round(value * 100)} %`) },
      ],
      series: [
        { label: "at most", value: (_self, value) => (value === null ? "–" : formatMs(value)) },
        ...series.map(
          ({ label }): uPlot.Series => ({
            label,
            paths,
            stroke: () => colour(label),
            width: 2,
            dash: label === "stock" ? [8, 4] : [],
            points: { show: false },
            spanGaps: false,
            value: (_self, value) => (value === null ? "–" : `${Math.round(value * 100)} %`),
          }),
        ),
      ],
    },
    tables.length === 1 && tables[0] !== undefined ? tables[0] : uPlot.join(tables),
    holder,
  );
  new ResizeObserver(oncePerFrame(() => plot.setSize({ width: holder.clientWidth, height: HEIGHT }))).observe(holder);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    palette = readPalette();
    plot.redraw(false);
  });
}
