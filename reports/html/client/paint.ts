/// <reference lib="dom" />
import type { Pattern, Shape, Tone } from "../../model/lanes.ts";

/** The page's colours, read from its style sheet, so that light and dark are decided in one place. */
export interface Palette {
  readonly text: string;
  readonly muted: string;
  readonly line: string;
  readonly surface: string;
  readonly accent: string;
  readonly tones: Readonly<Record<Tone, string>>;
  readonly washes: Readonly<Record<Tone, string>>;
}

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  const tones = (prefix: string): Record<Tone, string> => ({
    neutral: read(`${prefix}neutral`),
    info: read(`${prefix}info`),
    good: read(`${prefix}good`),
    warn: read(`${prefix}warn`),
    bad: read(`${prefix}bad`),
  });
  return {
    text: read("--text"),
    muted: read("--muted"),
    line: read("--line"),
    surface: read("--surface"),
    accent: read("--accent"),
    tones: tones("--tone-"),
    washes: tones("--wash-"),
  };
}

export const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

/** Sizes the canvas to its place on the page and the screen's density; the context is in CSS pixels. */
export function fitCanvas(
  canvas: HTMLCanvasElement,
): { ctx: CanvasRenderingContext2D; width: number; height: number } | undefined {
  const ctx = canvas.getContext("2d");
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (ctx === null || width === 0) return undefined;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.font = FONT;
  ctx.textBaseline = "middle";
  return { ctx, width, height };
}

/** Draws a mark's outline around (x, y). */
export function paintGlyph(
  ctx: CanvasRenderingContext2D,
  shape: Shape,
  x: number,
  y: number,
  colour: string,
  surface: string,
): void {
  const r = 5;
  ctx.beginPath();
  ctx.lineWidth = 2;
  ctx.strokeStyle = colour;
  ctx.fillStyle = colour;
  switch (shape) {
    case "dot":
      ctx.arc(x, y, r - 0.5, 0, 2 * Math.PI);
      ctx.fill();
      return;
    case "ring":
      ctx.arc(x, y, r - 1, 0, 2 * Math.PI);
      ctx.fillStyle = surface;
      ctx.fill();
      ctx.stroke();
      return;
    case "cross":
      ctx.lineWidth = 2.5;
      ctx.moveTo(x - r + 1, y - r + 1);
      ctx.lineTo(x + r - 1, y + r - 1);
      ctx.moveTo(x + r - 1, y - r + 1);
      ctx.lineTo(x - r + 1, y + r - 1);
      ctx.stroke();
      return;
    case "triangle":
      polygon(ctx, [x, y - r], [x + r, y + r - 1], [x - r, y + r - 1]);
      return;
    case "up":
      polygon(
        ctx,
        [x, y - r],
        [x + r, y + 1],
        [x + 2, y + 1],
        [x + 2, y + r],
        [x - 2, y + r],
        [x - 2, y + 1],
        [x - r, y + 1],
      );
      return;
    case "down":
      polygon(
        ctx,
        [x, y + r],
        [x + r, y - 1],
        [x + 2, y - 1],
        [x + 2, y - r],
        [x - 2, y - r],
        [x - 2, y - 1],
        [x - r, y - 1],
      );
      return;
    case "diamond":
      polygon(ctx, [x, y - r - 1], [x + r, y], [x, y + r + 1], [x - r, y]);
      return;
    case "square":
      ctx.fillRect(x - r + 1, y - r + 1, 2 * r - 2, 2 * r - 2);
      return;
    case "query":
      ctx.font = "bold 13px system-ui, sans-serif";
      ctx.textAlign = "center";
      ctx.fillText("?", x, y);
      ctx.textAlign = "left";
      ctx.font = FONT;
      return;
    case "tick":
      ctx.fillRect(x - 0.5, y - r, 1, 2 * r);
  }
}

function polygon(ctx: CanvasRenderingContext2D, ...points: readonly (readonly [number, number])[]): void {
  points.forEach(([x, y], index) => {
    if (index === 0) ctx.moveTo(x, y);
    else ctx.lineTo(x, y);
  });
  ctx.closePath();
  ctx.fill();
}

/** Draws a bar with its filling; its outline is always there, so that a filling is never told by colour alone. */
export function paintBar(
  ctx: CanvasRenderingContext2D,
  box: { readonly x: number; readonly y: number; readonly width: number; readonly height: number },
  filling: { readonly pattern: Pattern; readonly colour: string; readonly wash: string; readonly openEnd: boolean },
): void {
  const { x, y, width, height } = box;
  ctx.fillStyle = filling.wash;
  if (filling.pattern !== "hollow") ctx.fillRect(x, y, width, height);
  if (width > 4 && (filling.pattern === "hatched" || filling.pattern === "dotted")) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(x, y, width, height);
    ctx.clip();
    if (filling.pattern === "hatched") hatch(ctx, box, filling.colour);
    else dots(ctx, box, filling.colour);
    ctx.restore();
  }
  ctx.strokeStyle = filling.colour;
  ctx.lineWidth = 1;
  ctx.setLineDash(filling.pattern === "hollow" ? [3, 2] : []);
  ctx.strokeRect(x + 0.5, y + 0.5, Math.max(0, width - 1), height - 1);
  ctx.setLineDash([]);
  // What ended has a strong left edge; what never ended runs out in an arrow.
  ctx.fillStyle = filling.colour;
  ctx.fillRect(x, y, Math.min(3, width), height);
  if (filling.openEnd && width > 14) polygonAt(ctx, x + width - 8, y, height);
}

function polygonAt(ctx: CanvasRenderingContext2D, x: number, y: number, height: number): void {
  ctx.beginPath();
  ctx.moveTo(x, y + 2);
  ctx.lineTo(x + 7, y + height / 2);
  ctx.lineTo(x, y + height - 2);
  ctx.closePath();
  ctx.fill();
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function hatch(ctx: CanvasRenderingContext2D, box: Box, colour: string): void {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.45;
  ctx.beginPath();
  for (let x = box.x - box.height; x < box.x + box.width; x += 6) {
    ctx.moveTo(x, box.y + box.height);
    ctx.lineTo(x + box.height, box.y);
  }
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function dots(ctx: CanvasRenderingContext2D, box: Box, colour: string): void {
  ctx.fillStyle = colour;
  ctx.globalAlpha = 0.5;
  for (let x = box.x + 4; x < box.x + box.width; x += 6) {
    for (let y = box.y + 3; y < box.y + box.height; y += 5) ctx.fillRect(x, y, 1.5, 1.5);
  }
  ctx.globalAlpha = 1;
}

const widths = new Map<string, number>();

/** Width of a text in the lanes' font, in CSS pixels. */
export function textWidth(ctx: CanvasRenderingContext2D, text: string): number {
  const known = widths.get(text);
  if (known !== undefined) return known;
  const measured = ctx.measureText(text).width;
  if (widths.size > 5_000) widths.clear();
  widths.set(text, measured);
  return measured;
}

/** As much of the text as fits, ending in an ellipsis; empty where not even three characters fit. */
export function clipped(ctx: CanvasRenderingContext2D, text: string, width_max: number): string {
  if (textWidth(ctx, text) <= width_max) return text;
  const keep = Math.floor((width_max / textWidth(ctx, text)) * text.length) - 1;
  return keep < 3 ? "" : `${text.slice(0, keep)}…`;
}
