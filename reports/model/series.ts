import type { ReportEvent } from "./event.ts";

/** How a line of a plot is told from its neighbours without colour. */
export type LineStyle = "solid" | "dashed" | "dotted" | "points";

export interface PlotSeries {
  readonly label: string;
  readonly style: LineStyle;
  /** A value of null breaks the line: nothing was measured there. */
  readonly points: readonly { readonly at_ms: number; readonly value: number | null }[];
}

export interface Plot {
  readonly id: string;
  readonly title: string;
  /** Unit of the values: `pages`, `ms`, `bytes`, `steps/s`. */
  readonly unit: string;
  readonly series: readonly PlotSeries[];
}

/** Shorter spans than this make a rate of steps that is mostly noise. */
const RATE_SPAN_MS = 20;
/** A guest that says nothing for so long has stood still, or runs elsewhere: its line is broken there. */
const RATE_SILENT_MS = 400;

/** The plots of a run, from its samples; a plot without any value is left out. */
export function buildPlots(events: readonly ReportEvent[]): Plot[] {
  const plots: Plot[] = [
    { id: "pages", title: "Pages at the target", unit: "pages", series: pageSeries(events) },
    { id: "tx-size", title: "Transaction size", unit: "bytes", series: txSize(events) },
    { id: "tx-pause", title: "Guest pause per transaction", unit: "ms", series: txPause(events) },
    { id: "steps", title: "Guest steps per second", unit: "steps/s", series: stepRates(events) },
    {
      id: "control-late",
      title: "Lateness of the agents' event loops since their start (p99)",
      unit: "ms",
      series: lateness(events),
    },
    { id: "latency", title: "Output latency", unit: "ms", series: latencies(events) },
  ];
  return plots
    .map((plot) => ({ ...plot, series: plot.series.filter((series) => series.points.length > 0) }))
    .filter((plot) => plot.series.length > 0);
}

type Points = { at_ms: number; value: number | null }[];

function pageSeries(events: readonly ReportEvent[]): PlotSeries[] {
  const arrived: Points = [];
  const requested: Points = [];
  for (const event of events) {
    if (event.kind !== "migration.progress") continue;
    arrived.push({ at_ms: event.at_ms, value: event.pages_arrived });
    requested.push({ at_ms: event.at_ms, value: event.pages_requested });
  }
  return [
    { label: "arrived", style: "solid", points: arrived },
    { label: "requested", style: "dashed", points: requested },
  ];
}

function txSize(events: readonly ReportEvent[]): PlotSeries[] {
  const taken: Points = [];
  const stored: Points = [];
  for (const event of events) {
    if (event.kind === "tx.taken") taken.push({ at_ms: event.at_ms, value: event.bytes });
    else if (event.kind === "tx.stored") stored.push({ at_ms: event.at_ms, value: event.bytes });
  }
  return [
    { label: "taken", style: "solid", points: taken },
    { label: "stored", style: "points", points: stored },
  ];
}

function txPause(events: readonly ReportEvent[]): PlotSeries[] {
  const whole: Points = [];
  const stop: Points = [];
  const find: Points = [];
  for (const event of events) {
    if (event.kind !== "tx.taken") continue;
    whole.push({ at_ms: event.at_ms, value: event.still_ms ?? event.pause_ms });
    stop.push({ at_ms: event.at_ms, value: event.stop_ms });
    find.push({ at_ms: event.at_ms, value: event.find_ms });
  }
  return [
    { label: "whole pause", style: "solid", points: whole },
    { label: "of it: stop", style: "dashed", points: stop },
    { label: "of it: finding pages", style: "dotted", points: find },
  ];
}

function lateness(events: readonly ReportEvent[]): PlotSeries[] {
  const styles: readonly LineStyle[] = ["solid", "dashed", "dotted"];
  const agents = new Map<string, Points>();
  for (const event of events) {
    if (event.kind !== "agent.vitals") continue;
    const points = agents.get(event.lane) ?? [];
    agents.set(event.lane, points);
    points.push({ at_ms: event.at_ms, value: event.control_late_p99_ms });
  }
  return [...agents].map(([label, points], index) => ({ label, points, style: styles[index % 3] ?? "solid" }));
}

function stepRates(events: readonly ReportEvent[]): PlotSeries[] {
  const styles: readonly LineStyle[] = ["solid", "dashed", "dotted"];
  const last = new Map<string, { at_ms: number; step: number }>();
  const rates = new Map<string, Points>();
  for (const event of events) {
    if (event.kind !== "guest.progress") continue;
    const key = event.cpu === 0 ? `on ${event.host}` : `on ${event.host}, vCPU ${event.cpu}`;
    const before = last.get(key);
    if (before === undefined) {
      last.set(key, { at_ms: event.at_ms, step: event.step });
      rates.set(key, []);
      continue;
    }
    const span_ms = event.at_ms - before.at_ms;
    if (span_ms < RATE_SPAN_MS) continue;
    // A guest that went back (a restore) has no rate for that span.
    const steps = event.step - before.step;
    if (span_ms > RATE_SILENT_MS) rates.get(key)?.push({ at_ms: before.at_ms + 1, value: null });
    else if (steps >= 0) rates.get(key)?.push({ at_ms: event.at_ms, value: (steps / span_ms) * 1_000 });
    last.set(key, { at_ms: event.at_ms, step: event.step });
  }
  return [...rates].map(([label, points], index) => ({
    label,
    points,
    style: styles[index % styles.length] ?? "solid",
  }));
}

function latencies(events: readonly ReportEvent[]): PlotSeries[] {
  const waited: Points = [];
  const answered: Points = [];
  const invoked = new Map<number, number>();
  for (const event of events) {
    if (event.kind === "gate.released") waited.push({ at_ms: event.at_ms, value: event.waited_ms });
    if (event.kind !== "client.op") continue;
    if (event.phase === "invoked") invoked.set(event.op, event.at_ms);
    const began = invoked.get(event.op);
    if (event.phase === "acknowledged" && began !== undefined) {
      answered.push({ at_ms: event.at_ms, value: event.at_ms - began });
    }
  }
  return [
    { label: "output waited at the gate", style: "solid", points: waited },
    { label: "client's operation answered after", style: "points", points: answered },
  ];
}
