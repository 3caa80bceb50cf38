/// <reference lib="dom" />
import { bisector } from "d3-array";
import type { ScaleLinear } from "d3-scale";
import type { Bar, LaneModel, Mark, Tone } from "../../model/lanes.ts";
import { el } from "./dom.ts";
import { clipped, fitCanvas, type Palette, paintBar, paintGlyph, textWidth } from "./paint.ts";

const BAR_HEIGHT = 16;
const ROW_HEIGHT = 19;
const MARK_HEIGHT = 20;
const TICK_HEIGHT = 9;
const TOP = 4;
/** Marks nearer than this are drawn as one, with their number. */
const CELL_WIDTH = 13;
const WEIGHT: Readonly<Record<Tone, number>> = { bad: 4, warn: 3, good: 2, info: 1, neutral: 0 };

const byMarkTime = bisector((mark: Mark) => mark.at_ms);

/** Vertical lines over all lanes. */
export interface Rule {
  readonly at_ms: number;
  readonly style: "fault" | "chosen";
}

/** What lies under the pointer. */
export interface Hit {
  readonly events: readonly number[];
  /** Set when it is a bar: its two ends. */
  readonly bar?: Bar;
}

/** One lane: a label that takes the focus, and a canvas that shows its bars, marks and, as a strip, its log lines. */
export class LaneView {
  readonly lane: LaneModel;
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #marks: readonly Mark[];
  readonly #ticks: readonly Mark[];
  /** Longest bar: how far left of the view a bar may begin that still reaches into it. */
  readonly #reach_ms: number;
  readonly #height: number;

  constructor(lane: LaneModel) {
    this.lane = lane;
    this.#marks = lane.marks.filter((mark) => mark.shape !== "tick");
    this.#ticks = lane.marks.filter((mark) => mark.shape === "tick");
    this.#reach_ms = lane.bars.reduce((most, bar) => Math.max(most, bar.to_ms - bar.from_ms), 0);
    const rows = lane.bars.length > 0 ? lane.rows * ROW_HEIGHT : 0;
    this.#height = Math.max(
      30,
      TOP * 2 + rows + (this.#marks.length > 0 ? MARK_HEIGHT : 0) + (this.#ticks.length > 0 ? TICK_HEIGHT : 0),
    );
    this.#canvas = el("canvas", { "aria-hidden": "true" });
    this.#canvas.style.height = `${this.#height}px`;
    const count = lane.events.length;
    this.element = el(
      "div",
      {
        class: "lane",
        tabindex: "0",
        role: "slider",
        "aria-label": `Lane ${lane.title}`,
        "aria-valuemin": "0",
        "aria-valuemax": `${Math.max(0, count - 1)}`,
        "aria-valuenow": "0",
        "aria-valuetext": count === 0 ? "no events" : `${count} events`,
        "data-lane": lane.id,
      },
      el(
        "div",
        { class: "lane-label" },
        el("span", { class: "lane-title" }, lane.title),
        el("span", { class: "lane-count" }, count === 0 ? "none" : `${count}`),
      ),
      el("div", { class: "lane-plot" }, this.#canvas),
    );
  }

  get plotBox(): DOMRect {
    return this.#canvas.getBoundingClientRect();
  }

  draw(x: ScaleLinear<number, number>, palette: Palette, rules: readonly Rule[], focused: number | undefined): void {
    const fitted = fitCanvas(this.#canvas);
    if (fitted === undefined) return;
    const { ctx, width, height } = fitted;
    const from_ms = x.invert(-20);
    const to_ms = x.invert(width + 20);
    this.#drawRules(ctx, x, palette, rules, height);
    this.#drawBars(ctx, x, palette, { from_ms, to_ms, width });
    this.#drawMarks(ctx, x, palette, { from_ms, to_ms, width });
    this.#drawTicks(ctx, x, palette, { from_ms, to_ms, height });
    if (focused !== undefined) {
      ctx.strokeStyle = palette.accent;
      ctx.lineWidth = 2;
      ctx.strokeRect(x(focused) - 8, 1, 16, height - 2);
    }
  }

  /** What is at (px, py) of the canvas, within a finger's or a pointer's reach. */
  hit(px: number, py: number, x: ScaleLinear<number, number>): Hit | undefined {
    const barsBottom = TOP + (this.lane.bars.length > 0 ? this.lane.rows * ROW_HEIGHT : 0);
    const marksBottom = barsBottom + (this.#marks.length > 0 ? MARK_HEIGHT : 0);
    if (py < barsBottom) {
      const row = Math.floor((py - TOP) / ROW_HEIGHT);
      const near = this.#barAt(px, row, x);
      if (near !== undefined)
        return { events: near.last === near.event ? [near.event] : [near.event, near.last], bar: near };
    }
    const marks = py < marksBottom || this.#ticks.length === 0 ? this.#near(this.#marks, px, x, CELL_WIDTH * 0.6) : [];
    if (marks.length > 0) return { events: marks };
    const ticks = py >= barsBottom ? this.#near(this.#ticks, px, x, 4) : [];
    return ticks.length > 0 ? { events: ticks } : undefined;
  }

  #barAt(px: number, row: number, x: ScaleLinear<number, number>): Bar | undefined {
    let best: Bar | undefined;
    let bestDistance = 4;
    for (const bar of this.lane.bars) {
      if (bar.from_ms > x.invert(px + 4)) break;
      if (bar.row !== row) continue;
      const distance = Math.max(x(bar.from_ms) - px, px - Math.max(x(bar.to_ms), x(bar.from_ms) + 2), 0);
      // Of bars that lie over each other the one that began last is on top.
      if (distance <= bestDistance) {
        best = bar;
        bestDistance = distance;
      }
    }
    return best;
  }

  /** Events of the marks within reach, the weightiest and nearest first. */
  #near(marks: readonly Mark[], px: number, x: ScaleLinear<number, number>, reach: number): number[] {
    const found: Mark[] = [];
    for (let index = byMarkTime.left(marks, x.invert(px - reach)); index < marks.length; index += 1) {
      const mark = marks[index];
      if (mark === undefined || x(mark.at_ms) > px + reach) break;
      found.push(mark);
    }
    const distance = (mark: Mark): number => Math.abs(x(mark.at_ms) - px);
    return found.sort((a, b) => WEIGHT[b.tone] - WEIGHT[a.tone] || distance(a) - distance(b)).map((mark) => mark.event);
  }

  #drawRules(
    ctx: CanvasRenderingContext2D,
    x: ScaleLinear<number, number>,
    palette: Palette,
    rules: readonly Rule[],
    height: number,
  ): void {
    const chosen = rules.filter((rule) => rule.style === "chosen").map((rule) => x(rule.at_ms));
    const [first, second] = chosen;
    if (first !== undefined && second !== undefined) {
      ctx.fillStyle = palette.washes.info;
      ctx.fillRect(Math.min(first, second), 0, Math.abs(second - first), height);
    }
    for (const rule of rules) {
      const at = Math.round(x(rule.at_ms)) + 0.5;
      ctx.beginPath();
      ctx.strokeStyle = rule.style === "fault" ? palette.tones.bad : palette.accent;
      ctx.lineWidth = rule.style === "fault" ? 1 : 1.5;
      ctx.setLineDash(rule.style === "fault" ? [4, 3] : []);
      ctx.moveTo(at, 0);
      ctx.lineTo(at, height);
      ctx.stroke();
    }
    ctx.setLineDash([]);
  }

  #drawBars(
    ctx: CanvasRenderingContext2D,
    x: ScaleLinear<number, number>,
    palette: Palette,
    span: { from_ms: number; to_ms: number; width: number },
  ): void {
    const { bars } = this.lane;
    // Bars too narrow to tell apart are drawn once a pixel.
    const painted = new Map<number, number>();
    for (let index = firstReaching(bars, span.from_ms - this.#reach_ms); index < bars.length; index += 1) {
      const bar = bars[index];
      if (bar === undefined || bar.from_ms > span.to_ms) break;
      if (bar.to_ms < span.from_ms) continue;
      const left = Math.max(-20, x(bar.from_ms));
      const width = Math.max(2, Math.min(span.width + 20, x(bar.to_ms)) - left);
      if (width < 3) {
        const column = Math.floor(left);
        if (painted.get(bar.row) === column) continue;
        painted.set(bar.row, column);
      }
      const y = TOP + bar.row * ROW_HEIGHT;
      paintBar(
        ctx,
        { x: left, y, width, height: BAR_HEIGHT },
        { pattern: bar.pattern, colour: palette.tones[bar.tone], wash: palette.washes[bar.tone], openEnd: !bar.closed },
      );
      if (width < 30) continue;
      const shown = Math.max(left, 0);
      const label = clipped(ctx, bar.label, left + width - shown - (bar.closed ? 10 : 18));
      if (label === "") continue;
      const labelWidth = textWidth(ctx, label);
      if (bar.pattern === "hatched" || bar.pattern === "dotted") {
        ctx.fillStyle = palette.surface;
        ctx.fillRect(shown + 4, y + 2, labelWidth + 5, BAR_HEIGHT - 4);
      }
      ctx.fillStyle = palette.text;
      ctx.fillText(label, shown + 7, y + BAR_HEIGHT / 2 + 0.5);
    }
  }

  #drawMarks(
    ctx: CanvasRenderingContext2D,
    x: ScaleLinear<number, number>,
    palette: Palette,
    span: { from_ms: number; to_ms: number; width: number },
  ): void {
    const y = TOP + (this.lane.bars.length > 0 ? this.lane.rows * ROW_HEIGHT : 0) + MARK_HEIGHT / 2 - 1;
    const cells: { lead: Mark; count: number; at: number }[] = [];
    for (let index = byMarkTime.left(this.#marks, span.from_ms); index < this.#marks.length; index += 1) {
      const mark = this.#marks[index];
      if (mark === undefined || mark.at_ms > span.to_ms) break;
      const at = x(mark.at_ms);
      const cell = cells.at(-1);
      if (cell === undefined || at - cell.at >= CELL_WIDTH) cells.push({ lead: mark, count: 1, at });
      else {
        cell.count += 1;
        if (WEIGHT[mark.tone] > WEIGHT[cell.lead.tone]) cell.lead = mark;
      }
    }
    cells.forEach((cell, index) => {
      paintGlyph(ctx, cell.lead.shape, cell.at, y, palette.tones[cell.lead.tone], palette.surface);
      const room = (cells[index + 1]?.at ?? span.width) - cell.at - 18;
      const label = cell.count === 1 ? cell.lead.label : `${cell.lead.label} +${cell.count - 1}`;
      const short = cell.count === 1 ? "" : `+${cell.count - 1}`;
      ctx.fillStyle = palette.muted;
      if (textWidth(ctx, label) <= room) ctx.fillText(label, cell.at + 8, y + 0.5);
      else if (short !== "" && textWidth(ctx, short) <= room) ctx.fillText(short, cell.at + 8, y + 0.5);
    });
  }

  #drawTicks(
    ctx: CanvasRenderingContext2D,
    x: ScaleLinear<number, number>,
    palette: Palette,
    span: { from_ms: number; to_ms: number; height: number },
  ): void {
    let column = Number.NEGATIVE_INFINITY;
    let worst = 0;
    for (let index = byMarkTime.left(this.#ticks, span.from_ms); index < this.#ticks.length; index += 1) {
      const tick = this.#ticks[index];
      if (tick === undefined || tick.at_ms > span.to_ms) break;
      const at = Math.round(x(tick.at_ms));
      const weight = WEIGHT[tick.tone];
      if (at === column && weight <= worst) continue;
      column = at;
      worst = weight;
      // A warning stands taller than an ordinary line.
      const tall = weight > 0 ? TICK_HEIGHT : TICK_HEIGHT - 4;
      ctx.fillStyle = weight > 0 ? palette.tones.warn : palette.muted;
      ctx.fillRect(at, span.height - tall - 2, 1, tall);
    }
  }
}

function firstReaching(bars: readonly Bar[], from_ms: number): number {
  return bisector((bar: Bar) => bar.from_ms).left(bars, from_ms);
}
