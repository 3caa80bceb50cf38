/// <reference lib="dom" />
import type { ScaleLinear } from "d3-scale";
import { fitCanvas, type Palette, textWidth } from "./paint.ts";

/** A tick of the time axis, with as many digits as its neighbours need to differ. */
export function formatTick(at_ms: number, step_ms: number): string {
  const digits = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step_ms / 1_000) - 1e-9)));
  return `${(at_ms / 1_000).toFixed(digits)} s`;
}

/** Draws the axis with the chosen events as A and B. */
export function drawAxis(
  canvas: HTMLCanvasElement,
  x: ScaleLinear<number, number>,
  palette: Palette,
  chosen: readonly number[],
  pointed_ms: number | undefined,
): void {
  const fitted = fitCanvas(canvas);
  if (fitted === undefined) return;
  const { ctx, width, height } = fitted;
  const ticks = x.ticks(Math.max(2, Math.floor(width / 95)));
  const step_ms = (ticks[1] ?? 1) - (ticks[0] ?? 0);
  ctx.fillStyle = palette.muted;
  ctx.strokeStyle = palette.line;
  ctx.lineWidth = 1;
  for (const tick of ticks) {
    const at = Math.round(x(tick)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(at, height - 6);
    ctx.lineTo(at, height);
    ctx.stroke();
    const label = formatTick(tick, step_ms);
    const labelWidth = textWidth(ctx, label);
    ctx.fillText(label, Math.min(Math.max(0, at - labelWidth / 2), width - labelWidth), height - 14);
  }
  if (pointed_ms !== undefined)
    flag(ctx, x(pointed_ms), formatTick(pointed_ms, step_ms / 20), {
      fill: palette.text,
      text: palette.surface,
      width,
      height,
    });
  chosen.forEach((at_ms, index) => {
    flag(ctx, x(at_ms), index === 0 ? "A" : "B", { fill: palette.accent, text: palette.surface, width, height });
  });
}

function flag(
  ctx: CanvasRenderingContext2D,
  at: number,
  label: string,
  look: { fill: string; text: string; width: number; height: number },
): void {
  const labelWidth = textWidth(ctx, label) + 8;
  const left = Math.min(Math.max(0, at - labelWidth / 2), look.width - labelWidth);
  ctx.fillStyle = look.fill;
  ctx.fillRect(left, look.height - 22, labelWidth, 16);
  ctx.fillRect(at - 0.75, look.height - 6, 1.5, 6);
  ctx.fillStyle = look.text;
  ctx.fillText(label, left + 4, look.height - 14);
}
