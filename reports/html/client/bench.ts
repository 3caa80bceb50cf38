/// <reference lib="dom" />
import uPlot from "uplot";
import type { BenchData, BenchPlot } from "../../bench/plots.ts";
import { makeCopyButtons } from "./copy.ts";
import { embeddedOrPacked, oncePerFrame } from "./dom.ts";
import { type Palette, readPalette } from "./paint.ts";

const HEIGHT = 230;
/** Lines of one plot stand beside each other, so that their bars do not hide one another; the width of a size is 1. */
const APART = 0.09;
const DASHES: readonly number[][] = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

makeCopyButtons();
void show();

async function show(): Promise<void> {
  const { sizes, plots } = await embeddedOrPacked<BenchData>("bench-data");
  for (const plot of plots) draw(plot, sizes);
  document.documentElement.dataset["ready"] = `${Math.round(performance.now())}`;
}

function draw(shown: BenchPlot, sizes: readonly string[]): void {
  const holder = document.querySelector<HTMLElement>(`[data-bench="${shown.id}"]`);
  if (holder === null) return;
  let palette = readPalette();
  const colours: readonly ((palette: Palette) => string)[] = [
    ({ tones }) => tones.info,
    ({ tones }) => tones.warn,
    ({ tones }) => tones.good,
    ({ tones }) => tones.bad,
    ({ text }) => text,
  ];
  const colour = (series: number): string => (colours[series % colours.length] ?? (() => palette.text))(palette);
  const placeOf = (series: number, size: number): number => size + (series - (shown.series.length - 1) / 2) * APART;
  const tables = shown.series.map(
    ({ points }, series): uPlot.AlignedData => [
      points.map(({ size }) => placeOf(series, size)),
      points.map(({ median }) => median),
    ],
  );
  const values = shown.series.flatMap(({ points }) => points.flatMap(({ max }) => max));
  const most = Math.max(...values, shown.unit === "ratio" ? 1 : 0) * 1.1 || 1;
  const axis = {
    stroke: () => palette.muted,
    grid: { stroke: () => palette.line, width: 1 },
    ticks: { stroke: () => palette.line, width: 1 },
    font: "11px system-ui, sans-serif",
  };
  const plot = new uPlot(
    {
      width: holder.clientWidth,
      height: HEIGHT,
      padding: [8, 12, 0, 0],
      scales: { x: { time: false, range: [-0.5, sizes.length - 0.5] }, y: { range: [0, most] } },
      cursor: { show: false },
      legend: { live: false },
      axes: [
        {
          ...axis,
          grid: { show: false },
          splits: () => sizes.map((_, index) => index),
          values: (_self, splits) => splits.map((index) => sizes[index] ?? ""),
        },
        { ...axis, size: 56, values: (_self, splits) => splits.map((value) => tick(value, shown)) },
      ],
      series: [
        {},
        ...shown.series.map(
          ({ label }, series): uPlot.Series => ({
            label,
            stroke: () => colour(series),
            width: 1.6,
            dash: DASHES[Math.floor(series / colours.length) % DASHES.length] ?? [],
            spanGaps: true,
            points: { show: true, size: 7, fill: () => colour(series) },
          }),
        ),
      ],
      hooks: {
        drawAxes: [(self) => (shown.unit === "ratio" ? drawOne(self, palette) : undefined)],
        draw: [
          (self) =>
            shown.series.forEach((one, series) => {
              if (self.series[series + 1]?.show === false) return;
              for (const point of one.points) drawSpread(self, placeOf(series, point.size), point, colour(series));
            }),
        ],
      },
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

function tick(value: number, { unit }: BenchPlot): string {
  if (unit === "share") return `${Math.round(value * 100)} %`;
  if (unit === "ratio") return `${value}×`;
  return value >= 10_000 ? `${value / 1_000}k` : `${value}`;
}

/** A bar from the least to the greatest, and every run as a dot. */
function drawSpread(
  self: uPlot,
  place: number,
  { min, max, values }: { readonly min: number; readonly max: number; readonly values: readonly number[] },
  colour: string,
): void {
  const { ctx } = self;
  const x = self.valToPos(place, "x", true);
  const y = (value: number): number => self.valToPos(value, "y", true);
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  ctx.globalAlpha = 0.55;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(x, y(min));
  ctx.lineTo(x, y(max));
  for (const end of [min, max]) {
    ctx.moveTo(x - 4 * devicePixelRatio, y(end));
    ctx.lineTo(x + 4 * devicePixelRatio, y(end));
  }
  ctx.stroke();
  for (const value of values) {
    ctx.beginPath();
    ctx.arc(x, y(value), 1.8 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.restore();
}

/** Where there is no difference to stock. */
function drawOne(self: uPlot, palette: Palette): void {
  const { ctx, bbox } = self;
  const y = self.valToPos(1, "y", true);
  ctx.save();
  ctx.strokeStyle = palette.muted;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}
