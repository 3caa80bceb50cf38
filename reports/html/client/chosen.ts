/// <reference lib="dom" />
import { describe } from "../../model/describe.ts";
import { formatAt, formatMs } from "../../model/format.ts";
import { byId, el } from "./dom.ts";
import type { PageState } from "./state.ts";

/** The panel with the chosen events, all their fields, and the time between the two. */
export function showChosen(state: PageState): void {
  const panel = byId("chosen");
  const draw = (): void => {
    const [first, second] = state.chosen.map((index) => state.events[index]);
    if (first === undefined) {
      panel.replaceChildren(
        el("p", { class: "hint" }, "Choose an event for its details; choose a second one for the time between them."),
      );
      return;
    }
    const parts: Node[] = [];
    if (second !== undefined) {
      const between_ms = second.at_ms - first.at_ms;
      const order = between_ms < 0 ? "B before A" : "A to B";
      parts.push(
        el(
          "p",
          { class: "between", id: "between" },
          el("strong", {}, formatMs(Math.abs(between_ms))),
          ` ${order} (${Math.abs(between_ms).toFixed(3)} ms)`,
        ),
      );
    }
    for (const [name, event] of [
      ["A", first],
      ["B", second],
    ] as const) {
      if (event === undefined) continue;
      const fields = JSON.stringify(event, undefined, 2);
      parts.push(
        el(
          "div",
          { class: "chosen-event" },
          el(
            "p",
            {},
            el("span", { class: "pick" }, name),
            " ",
            el("strong", {}, formatAt(event.at_ms)),
            ` ${event.lane} · ${describe(event)}`,
          ),
          el("details", {}, el("summary", {}, "All fields"), el("pre", { tabindex: "0" }, fields)),
        ),
      );
    }
    const clear = el("button", { type: "button", class: "button" }, "Clear");
    clear.addEventListener("click", () => state.chooseOnly(undefined));
    parts.push(clear);
    panel.replaceChildren(...parts);
  };
  state.onChosen(draw);
  draw();
}
