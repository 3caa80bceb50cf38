/// <reference lib="dom" />
import { bisector } from "d3-array";
import { describe } from "../../model/describe.ts";
import { isLogLine, isSample, type ReportEvent } from "../../model/event.ts";
import { formatAt, formatCount } from "../../model/format.ts";
import { byId, el, oncePerFrame } from "./dom.ts";
import type { PageState } from "./state.ts";

const ROW_HEIGHT = 26;
const MARGIN_ROWS = 8;

/**
 * Every event and log line as text, in order of time: what the lanes show, for reading and for searching. Only the
 * rows in sight are on the page, so that a hundred thousand of them cost nothing.
 */
export class EventList {
  readonly #state: PageState;
  readonly #box = byId("event-list");
  readonly #rows = el("div", { class: "event-rows" });
  readonly #show = byId("list-show") as HTMLSelectElement;
  readonly #where = byId("list-lane") as HTMLSelectElement;
  readonly #search = byId("list-search") as HTMLInputElement;
  readonly #render = oncePerFrame(() => this.#draw());
  readonly #texts: (string | undefined)[] = [];
  #shown: number[] = [];
  /** The row that the keyboard is at. */
  #at = 0;

  constructor(state: PageState) {
    this.#state = state;
    this.#box.append(this.#rows);
    const lanes = [...new Set(state.events.map((event) => event.lane))].sort();
    this.#where.append(
      el("option", { value: "" }, "every lane"),
      ...lanes.map((lane) => el("option", { value: lane }, lane.replace("link:", "link "))),
    );
    this.#box.addEventListener("scroll", this.#render, { passive: true });
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#box.addEventListener("click", (event) => {
      const row = (event.target as HTMLElement).closest<HTMLElement>("[data-row]");
      if (row !== null) this.#choose(Number(row.dataset["row"]));
    });
    for (const input of [this.#show, this.#where, this.#search]) input.addEventListener("input", () => this.#filter());
    state.onChosen(() => this.#follow());
    new ResizeObserver(this.#render).observe(this.#box);
    this.#filter();
  }

  #filter(): void {
    const { events } = this.#state;
    const needle = this.#search.value.trim().toLowerCase();
    const lane = this.#where.value;
    const wanted = wantedBy(this.#show.value);
    this.#shown = [];
    for (let index = 0; index < events.length; index += 1) {
      const event = events[index];
      if (event === undefined || !wanted(event) || (lane !== "" && event.lane !== lane)) continue;
      if (needle !== "" && !this.#text(index).toLowerCase().includes(needle)) continue;
      this.#shown.push(index);
    }
    byId("list-count").textContent = `${formatCount(this.#shown.length)} of ${formatCount(events.length)} lines`;
    this.#at = 0;
    this.#rows.style.height = `${this.#shown.length * ROW_HEIGHT}px`;
    this.#follow();
    this.#render();
  }

  #text(index: number): string {
    const known = this.#texts[index];
    if (known !== undefined) return known;
    const event = this.#state.events[index];
    const text = event === undefined ? "" : describe(event);
    this.#texts[index] = text;
    return text;
  }

  #draw(): void {
    const first = Math.max(0, Math.floor(this.#box.scrollTop / ROW_HEIGHT) - MARGIN_ROWS);
    const count = Math.ceil(this.#box.clientHeight / ROW_HEIGHT) + 2 * MARGIN_ROWS;
    const rows = this.#shown.slice(first, first + count).map((index, offset) => this.#row(first + offset, index));
    this.#rows.replaceChildren(...rows);
    const active = `row-${this.#at}`;
    if (rows.some((row) => row.id === active)) this.#box.setAttribute("aria-activedescendant", active);
    else this.#box.removeAttribute("aria-activedescendant");
  }

  #row(row: number, index: number): HTMLElement {
    const event = this.#state.events[index];
    const chosen = this.#state.chosen.indexOf(index);
    const made = el(
      "div",
      {
        class: `event-row${isLogRow(event) ? " log" : ""}${row === this.#at ? " active" : ""}`,
        role: "option",
        id: `row-${row}`,
        "data-row": `${row}`,
        "aria-selected": `${chosen !== -1}`,
        "aria-posinset": `${row + 1}`,
        "aria-setsize": `${this.#shown.length}`,
      },
      el("span", { class: "pick" }, chosen === -1 ? "" : chosen === 0 ? "A" : "B"),
      el("span", { class: "at" }, formatAt(event?.at_ms ?? 0)),
      el("span", { class: "where" }, whereOf(event)),
      el("span", { class: "text" }, this.#text(index)),
    );
    made.style.top = `${row * ROW_HEIGHT}px`;
    return made;
  }

  #key(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.#box.clientHeight / ROW_HEIGHT) - 1);
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -this.#shown.length,
      End: this.#shown.length,
    };
    const move = moves[event.key];
    if (move !== undefined) {
      event.preventDefault();
      this.#at = Math.max(0, Math.min(this.#shown.length - 1, this.#at + move));
      this.#bringIntoSight();
      this.#render();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(this.#at);
    }
  }

  #choose(row: number): void {
    const index = this.#shown[row];
    if (index === undefined) return;
    this.#at = row;
    this.#state.choose(index);
  }

  /** Scrolls to the event chosen last, or to the row next to it in time when the filter hides it. */
  #follow(): void {
    const last = this.#state.chosen.at(-1);
    if (last !== undefined && this.#shown.length > 0) {
      this.#at = Math.min(this.#shown.length - 1, bisector((index: number) => index).left(this.#shown, last));
      this.#bringIntoSight();
    }
    this.#render();
  }

  #bringIntoSight(): void {
    const top = this.#at * ROW_HEIGHT;
    const { scrollTop, clientHeight } = this.#box;
    if (top < scrollTop || top + ROW_HEIGHT > scrollTop + clientHeight)
      this.#box.scrollTop = Math.max(0, top - clientHeight / 2);
  }
}

function wantedBy(choice: string): (event: ReportEvent) => boolean {
  if (choice === "logs") return isLogLine;
  if (choice === "events") return (event) => !isLogLine(event) && !isSample(event);
  if (choice === "both") return (event) => !isSample(event) && event.kind !== "file.line";
  return () => true;
}

function isLogRow(event: ReportEvent | undefined): boolean {
  return event !== undefined && isLogLine(event);
}

function whereOf(event: ReportEvent | undefined): string {
  if (event === undefined) return "";
  if (event.kind === "log") return `${event.lane} ${event.stream}`;
  if (event.kind === "guest.log") return `${event.lane} guest`;
  if (event.kind === "file.line") return event.file;
  return event.lane.replace("link:", "");
}
