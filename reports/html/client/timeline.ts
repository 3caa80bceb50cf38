/// <reference lib="dom" />
import { bisector } from "d3-array";
import { type ScaleLinear, scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import { type D3ZoomEvent, zoom, zoomIdentity } from "d3-zoom";
import { describe } from "../../model/describe.ts";
import { formatAt, formatMs } from "../../model/format.ts";
import type { LaneModel } from "../../model/lanes.ts";
import { drawAxis } from "./axis.ts";
import { byId, el, oncePerFrame } from "./dom.ts";
import { type Hit, LaneView, type Rule } from "./lane-view.ts";
import { readPalette } from "./paint.ts";
import type { PageState } from "./state.ts";
import { Tooltip } from "./tooltip.ts";

/** Room left and right of the run, in pixels, so that its first and last marks can be seen whole. */
const PAD = 10;
/** Deepest zoom: so much time on the whole width. */
const SPAN_MIN_MS = 0.5;

/** The lanes: drawing, zooming and panning by pointer, finger and keyboard, hovering and choosing. */
export class Timeline {
  readonly #state: PageState;
  readonly #lanes: readonly LaneView[];
  readonly #surface: HTMLElement;
  readonly #axis: HTMLCanvasElement;
  readonly #cursor: HTMLElement;
  readonly #tooltip = new Tooltip();
  readonly #zoom = zoom<HTMLElement, unknown>();
  readonly #redraw = oncePerFrame(() => this.#draw());
  #whole: ScaleLinear<number, number> = scaleLinear();
  #x: ScaleLinear<number, number> = scaleLinear();
  #palette = readPalette();
  #width = 0;
  /** The event that the keyboard is at, by lane. */
  readonly #at = new Map<LaneView, number>();

  constructor(state: PageState, lanes: readonly LaneModel[]) {
    this.#state = state;
    this.#lanes = lanes.map((lane) => new LaneView(lane));
    this.#axis = el("canvas", { class: "axis-canvas", "aria-hidden": "true" });
    this.#surface = el("div", { class: "lane-surface", id: "lane-surface" });
    this.#cursor = el("div", { class: "lane-cursor", hidden: "" });
    this.#surface.append(this.#cursor);
    byId("axis").append(
      el("div", { class: "lane-label" }, "Time since the run began"),
      el("div", { class: "lane-plot" }, this.#axis),
    );
    byId("lanes").append(...this.#lanes.map((lane) => lane.element), this.#surface);
    this.#listenToPointer();
    this.#listenToKeys();
    this.#listenToButtons();
    state.onChosen(this.#redraw);
    state.onPointed(() => {
      this.#showCursor();
      this.#redraw();
    });
    new ResizeObserver(() => this.#resize()).observe(byId("lanes"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#palette = readPalette();
      this.#redraw();
    });
    this.#resize();
  }

  /** Brings a time into view, in the middle, if it is not in view already. */
  reveal(at_ms: number): void {
    const { from_ms, to_ms } = this.#state.span;
    const margin_ms = (to_ms - from_ms) * 0.05;
    if (at_ms >= from_ms + margin_ms && at_ms <= to_ms - margin_ms) return;
    const half_ms = (to_ms - from_ms) / 2;
    this.show(at_ms - half_ms, at_ms + half_ms);
  }

  /** Shows a span of time; it is kept within the run. */
  show(from_ms: number, to_ms: number): void {
    if (from_ms <= 0 && to_ms >= this.#state.end_ms) {
      select(this.#surface).call(this.#zoom.transform, zoomIdentity);
      return;
    }
    const span_ms = Math.max(SPAN_MIN_MS, to_ms - from_ms);
    const middle_ms = (from_ms + to_ms) / 2;
    const pixels = Math.abs(this.#whole(span_ms) - this.#whole(0));
    const k = Math.max(1, Math.min(this.#scaleMax(), this.#width / pixels));
    const transform = zoomIdentity.translate(this.#width / 2 - k * this.#whole(middle_ms), 0).scale(k);
    select(this.#surface).call(this.#zoom.transform, constrained(transform, this.#width));
  }

  #zoomBy(factor: number, around_ms?: number): void {
    const { from_ms, to_ms } = this.#state.span;
    const point: [number, number] = [this.#x(around_ms ?? (from_ms + to_ms) / 2), 0];
    select(this.#surface).call(this.#zoom.scaleBy, factor, point);
  }

  #panBy(share: number): void {
    const { from_ms, to_ms } = this.#state.span;
    this.show(from_ms + (to_ms - from_ms) * share, to_ms + (to_ms - from_ms) * share);
  }

  #scaleMax(): number {
    return Math.max(8, this.#state.end_ms / SPAN_MIN_MS);
  }

  #resize(): void {
    const width = this.#axis.clientWidth;
    if (width === 0) return;
    const span = this.#width === 0 ? undefined : this.#state.span;
    this.#width = width;
    const box = byId("lanes").getBoundingClientRect();
    const plot = this.#axis.getBoundingClientRect();
    this.#surface.style.left = `${plot.left - box.left}px`;
    this.#surface.style.width = `${width}px`;
    this.#whole = scaleLinear([0, this.#state.end_ms], [PAD, width - PAD]);
    this.#zoom.scaleExtent([1, this.#scaleMax()]);
    this.#zoom.translateExtent([
      [0, 0],
      [width, 1_000],
    ]);
    this.#zoom.extent([
      [0, 0],
      [width, 1_000],
    ]);
    if (span === undefined) select(this.#surface).call(this.#zoom.transform, zoomIdentity);
    else this.show(span.from_ms, span.to_ms);
    this.#redraw();
  }

  #draw(): void {
    const faults: Rule[] = this.#state.events.flatMap((event) =>
      event.kind === "fault.injected" ? [{ at_ms: event.at_ms, style: "fault" as const }] : [],
    );
    const chosen = this.#state.chosen.flatMap((index) => this.#state.events[index]?.at_ms ?? []);
    const rules = [...faults, ...chosen.map((at_ms): Rule => ({ at_ms, style: "chosen" }))];
    for (const lane of this.#lanes) {
      const at = document.activeElement === lane.element ? this.#at.get(lane) : undefined;
      lane.draw(this.#x, this.#palette, rules, at === undefined ? undefined : this.#state.events[at]?.at_ms);
    }
    drawAxis(this.#axis, this.#x, this.#palette, chosen, this.#state.pointed_ms);
  }

  #listenToPointer(): void {
    this.#zoom
      .clickDistance(5)
      .filter((event: Event) => {
        // A plain wheel scrolls the page, a single finger scrolls it too or, sideways, pans (below).
        if (event instanceof WheelEvent) return event.ctrlKey || event.metaKey || event.shiftKey;
        if ("touches" in event) return (event as TouchEvent).touches.length > 1;
        return !(event instanceof MouseEvent) || event.button === 0;
      })
      .wheelDelta((event) => {
        const delta = event.deltaY === 0 ? event.deltaX : event.deltaY;
        return -delta * (event.deltaMode === 1 ? 0.05 : event.ctrlKey && Math.abs(delta) < 20 ? 0.02 : 0.004);
      })
      .on("zoom", (event: D3ZoomEvent<HTMLElement, unknown>) => {
        this.#x = event.transform.rescaleX(this.#whole);
        this.#state.showSpan(this.#x.invert(0), this.#x.invert(this.#width));
        this.#showCursor();
        this.#redraw();
      });
    select<HTMLElement, unknown>(this.#surface).call(this.#zoom).on("dblclick.zoom", null);
    const surface = this.#surface;
    surface.addEventListener("pointermove", (event) => this.#hover(event));
    surface.addEventListener("pointerleave", () => {
      this.#tooltip.hide();
      this.#state.point(undefined);
    });
    surface.addEventListener("click", (event) => this.#click(event));
    surface.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || Math.abs(event.deltaX) <= Math.abs(event.deltaY))
          return;
        event.preventDefault();
        this.#panBy(event.deltaX / this.#width);
      },
      { passive: false },
    );
    this.#panByOneFinger();
  }

  #panByOneFinger(): void {
    let last: number | undefined;
    const end = (): void => {
      last = undefined;
    };
    this.#surface.addEventListener("pointerdown", (event) => {
      last = event.pointerType === "touch" && event.isPrimary ? event.clientX : undefined;
    });
    this.#surface.addEventListener("pointermove", (event) => {
      if (last === undefined || event.pointerType !== "touch" || !event.isPrimary) return;
      this.#panBy((last - event.clientX) / this.#width);
      last = event.clientX;
    });
    this.#surface.addEventListener("pointerup", end);
    this.#surface.addEventListener("pointercancel", end);
  }

  #laneAt(event: MouseEvent): { lane: LaneView; px: number; hit: Hit | undefined } | undefined {
    for (const lane of this.#lanes) {
      const box = lane.plotBox;
      if (event.clientY < box.top || event.clientY >= box.bottom) continue;
      const px = event.clientX - box.left;
      return { lane, px, hit: lane.hit(px, event.clientY - box.top, this.#x) };
    }
    return undefined;
  }

  #hover(event: PointerEvent): void {
    const found = this.#laneAt(event);
    this.#state.point(this.#x.invert(event.clientX - this.#surface.getBoundingClientRect().left));
    this.#surface.classList.toggle("over-event", found?.hit !== undefined);
    if (found?.hit === undefined) this.#tooltip.hide();
    else this.#tooltip.show(event, this.#linesOf(found.lane, found.hit));
  }

  #click(event: MouseEvent): void {
    const found = this.#laneAt(event);
    if (found === undefined) return;
    found.lane.element.focus({ preventScroll: true });
    const { hit } = found;
    if (hit === undefined) return;
    // Near the right end of a bar it is its end that is meant.
    const towardsEnd = hit.bar !== undefined && found.px > (this.#x(hit.bar.from_ms) + this.#x(hit.bar.to_ms)) / 2;
    const index = hit.bar === undefined ? hit.events[0] : towardsEnd ? hit.bar.last : hit.bar.event;
    if (index === undefined) return;
    this.#at.set(found.lane, index);
    this.#state.choose(index);
  }

  #linesOf(lane: LaneView, hit: Hit): { head: string; lines: string[] } {
    const { bar } = hit;
    if (bar !== undefined) {
      const from = this.#state.events[bar.event];
      const last = this.#state.events[bar.last];
      const lines = [from === undefined ? bar.label : describe(from)];
      if (bar.closed && last !== undefined && bar.last !== bar.event) lines.push(`until: ${describe(last)}`);
      lines.push(
        bar.closed
          ? `lasted ${formatMs(bar.to_ms - bar.from_ms)}`
          : `had not ended after ${formatMs(bar.to_ms - bar.from_ms)}, when the run ended`,
      );
      return { head: `${lane.lane.title} · ${formatAt(bar.from_ms)}${this.#sinceFault(bar.from_ms)}`, lines };
    }
    const first = this.#state.events[hit.events[0] ?? -1];
    const lines = hit.events.slice(0, 6).flatMap((index) => {
      const event = this.#state.events[index];
      return event === undefined
        ? []
        : [hit.events.length === 1 ? describe(event) : `${formatAt(event.at_ms)}  ${describe(event)}`];
    });
    if (hit.events.length > 6) lines.push(`… and ${hit.events.length - 6} more here: zoom in`);
    return {
      head: `${lane.lane.title} · ${first === undefined ? "" : formatAt(first.at_ms) + this.#sinceFault(first.at_ms)}`,
      lines,
    };
  }

  #sinceFault(at_ms: number): string {
    const { fault_ms } = this.#state;
    if (fault_ms === undefined || at_ms === fault_ms) return "";
    return at_ms < fault_ms
      ? ` · ${formatMs(fault_ms - at_ms)} before the fault`
      : ` · ${formatMs(at_ms - fault_ms)} after the fault`;
  }

  #showCursor(): void {
    const at_ms = this.#state.pointed_ms;
    this.#cursor.hidden = at_ms === undefined;
    if (at_ms !== undefined) this.#cursor.style.transform = `translateX(${this.#x(at_ms)}px)`;
  }

  #listenToKeys(): void {
    for (const lane of this.#lanes) {
      lane.element.addEventListener("focus", () => {
        this.#step(lane, 0);
        this.#redraw();
      });
      lane.element.addEventListener("blur", this.#redraw);
      lane.element.addEventListener("keydown", (event) => {
        if (this.#key(lane, event)) event.preventDefault();
      });
    }
  }

  #key(lane: LaneView, event: KeyboardEvent): boolean {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const at_ms = this.#state.events[this.#at.get(lane) ?? -1]?.at_ms;
    switch (event.key) {
      case "ArrowRight":
        if (event.shiftKey) this.#panBy(0.2);
        else this.#step(lane, 1);
        return true;
      case "ArrowLeft":
        if (event.shiftKey) this.#panBy(-0.2);
        else this.#step(lane, -1);
        return true;
      case "PageDown":
        this.#step(lane, 25);
        return true;
      case "PageUp":
        this.#step(lane, -25);
        return true;
      case "Home":
        this.#step(lane, Number.NEGATIVE_INFINITY);
        return true;
      case "End":
        this.#step(lane, Number.POSITIVE_INFINITY);
        return true;
      case "ArrowDown":
        this.#moveLane(lane, 1);
        return true;
      case "ArrowUp":
        this.#moveLane(lane, -1);
        return true;
      case "+":
      case "=":
        this.#zoomBy(2, at_ms);
        return true;
      case "-":
      case "_":
        this.#zoomBy(0.5, at_ms);
        return true;
      case "0":
        this.show(0, this.#state.end_ms);
        return true;
      case "f":
        this.#showFault();
        return true;
      case "Enter":
      case " ": {
        const index = this.#at.get(lane);
        if (index !== undefined) this.#state.choose(index);
        return true;
      }
      case "Escape":
        this.#state.chooseOnly(undefined);
        return true;
      default:
        return false;
    }
  }

  /** Moves the keyboard's place by so many events of the lane and says what is there. */
  #step(lane: LaneView, by: number): void {
    const { events } = lane.lane;
    if (events.length === 0) return;
    const here = this.#at.get(lane);
    const from = here === undefined ? this.#firstInView(events) : Math.max(0, events.indexOf(here));
    const next = Math.max(0, Math.min(events.length - 1, from + by));
    const index = events[next];
    const event = index === undefined ? undefined : this.#state.events[index];
    if (index === undefined || event === undefined) return;
    this.#at.set(lane, index);
    lane.element.setAttribute("aria-valuenow", `${next}`);
    lane.element.setAttribute("aria-valuetext", `${formatAt(event.at_ms)}: ${describe(event)}`);
    byId("lane-status").textContent =
      `${lane.lane.title}, ${next + 1} of ${events.length}: ${formatAt(event.at_ms)}${this.#sinceFault(event.at_ms)} · ${describe(event)}`;
    if (by !== 0) this.reveal(event.at_ms);
    this.#redraw();
  }

  #firstInView(events: readonly number[]): number {
    const at = bisector((index: number) => this.#state.events[index]?.at_ms ?? 0).left(
      events,
      this.#state.span.from_ms,
    );
    return Math.min(at, events.length - 1);
  }

  #moveLane(lane: LaneView, by: number): void {
    const next = this.#lanes[this.#lanes.indexOf(lane) + by];
    if (next === undefined) return;
    const at_ms = this.#state.events[this.#at.get(lane) ?? -1]?.at_ms;
    if (at_ms !== undefined && next.lane.events.length > 0) {
      const near = bisector((index: number) => this.#state.events[index]?.at_ms ?? 0).center(next.lane.events, at_ms);
      const index = next.lane.events[near];
      if (index !== undefined) this.#at.set(next, index);
    }
    next.element.focus();
  }

  #listenToButtons(): void {
    const actions: Readonly<Record<string, () => void>> = {
      "zoom-in": () => this.#zoomBy(2),
      "zoom-out": () => this.#zoomBy(0.5),
      "zoom-all": () => this.show(0, this.#state.end_ms),
      "zoom-fault": () => this.#showFault(),
      "pan-left": () => this.#panBy(-0.3),
      "pan-right": () => this.#panBy(0.3),
    };
    for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", action);
    if (this.#state.fault_ms === undefined) byId("zoom-fault").hidden = true;
  }

  /** From shortly before the fault to when the system had settled. */
  #showFault(): void {
    const { fault_ms, events, end_ms } = this.#state;
    if (fault_ms === undefined) return;
    const settled_ms = events.find((event) => event.kind === "run.settled" && event.at_ms > fault_ms)?.at_ms ?? end_ms;
    const margin_ms = (settled_ms - fault_ms) * 0.1;
    this.show(fault_ms - margin_ms, settled_ms + margin_ms);
  }
}

/** Keeps the run within the width, as d3-zoom's own gestures do. */
function constrained(transform: typeof zoomIdentity, width: number): typeof zoomIdentity {
  const left = Math.min(0, Math.max(width * (1 - transform.k), transform.x));
  return zoomIdentity.translate(left, 0).scale(transform.k);
}
