/// <reference lib="dom" />
import uPlot from "uplot";
import { formatBytes, formatCount, formatMs } from "../../model/format.ts";
import type { LineStyle, Plot } from "../../model/series.ts";
import { formatTick } from "./axis.ts";
import { byId, el, oncePerFrame } from "./dom.ts";
import { type Palette, readPalette } from "./paint.ts";
import type { PageState } from "./state.ts";

const HEIGHT = 170;
const AXIS_WIDTH = 76;
/** Steps of an axis of bytes: powers of two, so that its labels are round. */
const BYTE_STEPS = Array.from({ length: 40 }, (_, power) => 2 ** power);
const DASHES: Readonly<Record<LineStyle, number[]>> = { solid: [], dashed: [8, 4], dotted: [2, 3], points: [] };

/**
 * The plots below the lanes: they share the lanes' span of time in both directions, and the pointer's place. Lines
 * differ by their dashes as well as by colour.
 */
export function showPlots(
  state: PageState,
  plots: readonly Plot[],
  reveal: (from_ms: number, to_ms: number) => void,
): void {
  const home = byId("plots");
  let palette = readPalette();
  const made: { plot: uPlot; holder: HTMLElement }[] = [];
  for (const plot of plots) {
    const holder = el("div", { class: "plot-canvas" });
    home.append(
      el(
        "figure",
        { class: "plot", "data-plot": plot.id },
        el("figcaption", {}, el("strong", {}, plot.title), el("span", {}, plot.unit)),
        holder,
      ),
    );
    made.push({
      holder,
      plot: new uPlot(
        optionsOf(plot, state, () => palette, reveal, holder.clientWidth),
        dataOf(plot),
        holder,
      ),
    });
  }
  const follow = oncePerFrame(() => {
    const { from_ms, to_ms } = state.span;
    for (const { plot } of made) plot.setScale("x", { min: from_ms, max: to_ms });
  });
  state.onSpan(follow);
  follow();
  state.onPointed(() => {
    const at_ms = state.pointed_ms;
    for (const { plot } of made) {
      if (plot.root.matches(":hover")) continue;
      plot.setCursor(
        { left: at_ms === undefined ? -10 : plot.valToPos(at_ms, "x"), top: at_ms === undefined ? -10 : 1 },
        false,
      );
    }
  });
  new ResizeObserver(
    oncePerFrame(() => {
      for (const { plot, holder } of made) plot.setSize({ width: holder.clientWidth, height: HEIGHT });
      follow();
    }),
  ).observe(home);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    palette = readPalette();
    for (const { plot } of made) plot.redraw(false);
  });
}

function optionsOf(
  plot: Plot,
  state: PageState,
  palette: () => Palette,
  reveal: (from_ms: number, to_ms: number) => void,
  width: number,
): uPlot.Options {
  const colours = [
    () => palette().tones.info,
    () => palette().tones.warn,
    () => palette().tones.good,
    () => palette().tones.bad,
  ];
  const axis = {
    stroke: () => palette().muted,
    grid: { stroke: () => palette().line, width: 1 },
    ticks: { stroke: () => palette().line, width: 1 },
    font: "11px system-ui, sans-serif",
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 0, 0, 0],
    scales: {
      x: { time: false, auto: false, min: 0, max: state.end_ms },
      y: {
        range: (_self, min, max) => [
          0,
          max === min ? Math.max(1, max * 1.2) : (uPlot.rangeNum(min, max, 0.1, true)[1] ?? max),
        ],
      },
    },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, y: false },
    legend: { live: true },
    axes: [
      {
        ...axis,
        space: 95,
        values: (_self, splits) => splits.map((at_ms) => formatTick(at_ms, (splits[1] ?? 1) - (splits[0] ?? 0))),
      },
      {
        ...axis,
        size: AXIS_WIDTH,
        ...(plot.unit === "bytes" ? { incrs: BYTE_STEPS } : {}),
        values: (_self, splits) => splits.map((value) => short(value, plot.unit)),
      },
    ],
    series: [
      { label: "at", value: (_self, at_ms) => (at_ms === null ? "–" : `${(at_ms / 1_000).toFixed(3)} s`) },
      ...plot.series.map((series, index): uPlot.Series => {
        const stroke = colours[index % colours.length] ?? (() => palette().text);
        return {
          label: series.label,
          stroke,
          width: 1.6,
          dash: DASHES[series.style],
          spanGaps: false,
          value: (_self, value) => (value === null ? "–" : long(value, plot.unit)),
          ...(series.style === "points"
            ? {
                paths: () => null,
                points: { show: true, filter: distinctPoints, size: 6, fill: () => palette().surface, stroke },
              }
            : { points: { size: 5, fill: stroke } }),
        };
      }),
    ],
    hooks: {
      drawClear: [(self) => shadeFaults(self, state, palette())],
      setSelect: [
        (self) => {
          if (self.select.width < 3) return;
          reveal(self.posToVal(self.select.left, "x"), self.posToVal(self.select.left + self.select.width, "x"));
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      setCursor: [
        (self) => {
          if (!self.root.matches(":hover")) return;
          const { left } = self.cursor;
          state.point(left === undefined || left < 0 ? undefined : self.posToVal(left, "x"));
        },
      ],
    },
  };
}

/** Points that fall on the same pixels are painted once: 25,000 circles cost half a second, and look the same. */
function distinctPoints(self: uPlot, series: number, show: boolean): number[] | null {
  if (!show) return null;
  const times = self.data[0];
  const values = self.data[series] ?? [];
  const [first, last] = self.series[0]?.idxs ?? [0, times.length - 1];
  const seen = new Set<number>();
  const kept: number[] = [];
  for (let index = first; index <= last; index += 1) {
    const at_ms = times[index];
    const value = values[index];
    if (at_ms === undefined || value === undefined || value === null) continue;
    const pixel = Math.round(self.valToPos(at_ms, "x") / 2) * 10_000 + Math.round(self.valToPos(value, "y") / 2);
    if (seen.has(pixel)) continue;
    seen.add(pixel);
    kept.push(index);
  }
  return kept;
}

/** One list of times for all lines of a plot; a line that has no value at a time has a gap there. */
function dataOf(plot: Plot): uPlot.AlignedData {
  const tables = plot.series.map(
    (series): uPlot.AlignedData => [
      series.points.map((point) => point.at_ms),
      series.points.map((point) => point.value),
    ],
  );
  return tables.length === 1 && tables[0] !== undefined ? tables[0] : uPlot.join(tables);
}

/** A dashed line where a fault began, as on the lanes. */
function shadeFaults(self: uPlot, state: PageState, palette: Palette): void {
  const { ctx } = self;
  ctx.save();
  ctx.strokeStyle = palette.tones.bad;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const event of state.events) {
    if (event.kind !== "fault.injected") continue;
    const x = self.valToPos(event.at_ms, "x", true);
    if (x < self.bbox.left || x > self.bbox.left + self.bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, self.bbox.top);
    ctx.lineTo(x, self.bbox.top + self.bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function short(value: number, unit: string): string {
  if (unit === "bytes") return formatBytes(value);
  if (unit === "ms") return value >= 1_000 ? `${value / 1_000} s` : `${value} ms`;
  return value >= 10_000 ? `${formatCount(value / 1_000)} k` : formatCount(value);
}

function long(value: number, unit: string): string {
  if (unit === "bytes") return formatBytes(value);
  if (unit === "ms") return formatMs(value);
  return `${formatCount(Math.round(value))} ${unit}`;
}
