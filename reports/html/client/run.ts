/// <reference lib="dom" />
import type { ReportEvent } from "../../model/event.ts";
import { buildLanes } from "../../model/lanes.ts";
import { buildPlots } from "../../model/series.ts";
import { showChosen } from "./chosen.ts";
import { makeCopyButtons } from "./copy.ts";
import { embeddedOrPacked } from "./dom.ts";
import { EventList } from "./event-list.ts";
import { showPlots } from "./plots.ts";
import { PageState } from "./state.ts";
import { Timeline } from "./timeline.ts";

/** What html/run.ts puts into the page. */
export interface RunData {
  readonly events: readonly ReportEvent[];
}

async function open(): Promise<void> {
  const { events } = await embeddedOrPacked<RunData>("run-data");
  makeCopyButtons();
  if (events.length > 0) {
    const state = new PageState(events);
    const timeline = new Timeline(state, buildLanes(events));
    showChosen(state);
    showPlots(state, buildPlots(events), (from_ms, to_ms) => timeline.show(from_ms, to_ms));
    new EventList(state);
    // Choosing an event anywhere, the story and the list included, brings it into view on the lanes.
    state.onChosen(() => {
      const last = events[state.chosen.at(-1) ?? -1];
      if (last !== undefined) timeline.reveal(last.at_ms);
    });
    for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-event]")) {
      button.addEventListener("click", () => {
        const index = Number(button.dataset["event"]);
        state.chooseOnly(index);
        document.getElementById("timeline")?.scrollIntoView({ block: "start", behavior: "smooth" });
      });
    }
  }
  // Ready means drawn: the lanes are painted in the next frame.
  requestAnimationFrame(() =>
    setTimeout(() => {
      document.documentElement.dataset["ready"] = `${Math.round(performance.now())}`;
    }),
  );
}

void open();
