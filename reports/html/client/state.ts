/// <reference lib="dom" />
import type { ReportEvent } from "../../model/event.ts";

type Listener = () => void;

/** What all parts of the page share: which span of time is in view, and which events are chosen. */
export class PageState {
  readonly events: readonly ReportEvent[];
  readonly end_ms: number;
  readonly fault_ms: number | undefined;
  #from_ms = 0;
  #to_ms: number;
  #chosen: readonly number[] = [];
  #pointed: number | undefined;
  readonly #onSpan: Listener[] = [];
  readonly #onChosen: Listener[] = [];
  readonly #onPointed: Listener[] = [];

  constructor(events: readonly ReportEvent[]) {
    this.events = events;
    this.end_ms = Math.max(
      1,
      events.reduce((last, event) => Math.max(last, event.at_ms), 0),
    );
    this.#to_ms = this.end_ms;
    this.fault_ms = events.find((event) => event.kind === "fault.injected")?.at_ms;
  }

  get span(): { readonly from_ms: number; readonly to_ms: number } {
    return { from_ms: this.#from_ms, to_ms: this.#to_ms };
  }

  /** None, one or two events, in the order in which they were chosen. */
  get chosen(): readonly number[] {
    return this.#chosen;
  }

  /** A time that the pointer is at, or undefined. */
  get pointed_ms(): number | undefined {
    return this.#pointed;
  }

  showSpan(from_ms: number, to_ms: number): void {
    if (from_ms === this.#from_ms && to_ms === this.#to_ms) return;
    this.#from_ms = from_ms;
    this.#to_ms = to_ms;
    for (const listener of this.#onSpan) listener();
  }

  /** The second choice makes a pair with the first, a third begins anew; the same again takes it back. */
  choose(index: number): void {
    if (this.#chosen.includes(index)) this.#chosen = this.#chosen.filter((other) => other !== index);
    else this.#chosen = this.#chosen.length === 1 ? [...this.#chosen, index] : [index];
    for (const listener of this.#onChosen) listener();
  }

  chooseOnly(index: number | undefined): void {
    this.#chosen = index === undefined ? [] : [index];
    for (const listener of this.#onChosen) listener();
  }

  point(at_ms: number | undefined): void {
    if (this.#pointed === at_ms) return;
    this.#pointed = at_ms;
    for (const listener of this.#onPointed) listener();
  }

  onSpan(listener: Listener): void {
    this.#onSpan.push(listener);
  }

  onChosen(listener: Listener): void {
    this.#onChosen.push(listener);
  }

  onPointed(listener: Listener): void {
    this.#onPointed.push(listener);
  }
}
