import { PAGE_BYTES } from "../base/page.ts";
import type { Patience } from "../base/patience.ts";
import type { ProtocolStep, TimelineEvent } from "../base/timeline.ts";

/** How many of the guest's pages are on the target, by the last that was told. */
export interface PagesSeen {
  readonly arrived: number;
  readonly total: number;
}

/**
 * Reads off the timeline what moves in a migration, for whoever waits for its end. Pages, more of a record than of any
 * before, steps that come for the first time and faults bring a migration on: there is only so much of them. Guest steps,
 * transactions, generations and restores show that something lives.
 */
export class Movement {
  readonly #patience: Patience;
  readonly #steps = new Set<ProtocolStep>();
  #arrived = -1;
  #left_bytes = Number.POSITIVE_INFINITY;
  #furthest = -1;
  /** Of any one record since the last fault, or attempt to migrate: there is only so many of those. */
  #most_sent = 0;
  #pages: PagesSeen = { arrived: 0, total: 0 };

  constructor(patience: Patience) {
    this.#patience = patience;
  }

  /** All zeros while nobody has told. */
  get pages(): PagesSeen {
    return this.#pages;
  }

  see(event: TimelineEvent): void {
    const onward = (what: string): void => this.#patience.onward(what, event.at_ms);
    const alive = (what: string): void => this.#patience.alive(what, event.at_ms);
    switch (event.kind) {
      case "migration.progress": {
        const { pages_arrived, pages_total, remaining_bytes } = event;
        // A source counts a page that it sends twice twice: what is left tells how many have come.
        const arrived = Math.max(0, pages_total - Math.ceil(remaining_bytes / PAGE_BYTES));
        this.#pages = { arrived, total: pages_total };
        if (pages_arrived <= this.#arrived && remaining_bytes >= this.#left_bytes) return;
        this.#arrived = Math.max(this.#arrived, pages_arrived);
        this.#left_bytes = Math.min(this.#left_bytes, remaining_bytes);
        onward(`${pages_arrived} of ${pages_total} pages have come`);
        return;
      }
      case "migration.step":
        if (event.step === "failed") this.#most_sent = 0;
        if (this.#steps.has(event.step)) alive(`the step ${event.step}, again`);
        else onward(`the step ${event.step}`);
        this.#steps.add(event.step);
        return;
      case "fault.injected":
      case "fault.healed":
      case "fault.failed":
        onward(event.kind.replace(".", " "));
        this.#most_sent = 0;
        return;
      case "guest.progress":
        if (event.step <= this.#furthest) return;
        this.#furthest = event.step;
        alive(`step ${event.step} of the guest on ${event.host}`);
        return;
      case "tx.progress":
        // One record has no more pages than the guest; how many records there are nobody knows.
        if (event.pages_sent > this.#most_sent) onward(`${event.pages_sent} pages of transaction ${event.n} sent`);
        else alive(`transaction ${event.n} of generation ${event.generation}`);
        this.#most_sent = Math.max(this.#most_sent, event.pages_sent);
        return;
      case "tx.stored":
      case "tx.committed":
        alive(`transaction ${event.n} of generation ${event.generation}`);
        return;
      case "generation.opened":
        alive(`generation ${event.generation} of ${event.owner}`);
        return;
      case "restore.started":
      case "restore.verified":
      case "restore.finished":
      case "restore.running":
      case "takeover":
      case "handoff":
        alive(event.kind.replace(".", " "));
        return;
      default:
    }
  }
}
