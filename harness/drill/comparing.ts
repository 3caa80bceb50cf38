import { pagesOf } from "../txsync/dirty/pages.ts";
import { PagescanError } from "../txsync/dirty/pagescan.ts";
import type { DirtyTracker, PagescanTracker } from "../txsync/dirty/tracker.ts";

/** What came of looking both ways. */
export interface Comparison {
  /** Pages that only the sure way found: writes that the quick way lost. */
  missed: number;
  /** Pages that only the quick way found: written with what was there. */
  surplus: number;
  compared: number;
  /**
   * How many pages the source was asked for while small blocks were looked at of which some lacked, at most: a look must
   * fetch none. Undefined where none lacked.
   */
  requests: number | undefined;
  readonly quick_ms: number[];
  readonly sure_ms: number[];
}

/** How many of `all` are not among `some`. */
function without(all: ReadonlySet<string>, some: ReadonlySet<string>): number {
  return [...all].filter((page) => !some.has(page)).length;
}

async function smallPresent(tracker: PagescanTracker): Promise<number> {
  const runs = await Promise.all(tracker.small_blocks.map((block) => tracker.present(block)));
  return runs.flat().reduce((sum, run) => sum + run.count, 0);
}

/**
 * A tracker that, while the guest is stopped, first looks both ways and notes where they differ.
 * @param small_pages how many pages small blocks have
 * @param requested how many pages the source has been asked for so far, as it counts itself
 */
export function comparing(
  tracker: PagescanTracker,
  small_pages: number,
  requested: () => Promise<number>,
  into: Comparison,
): Pick<DirtyTracker, "take" | "collect" | "release"> {
  return {
    collect: () => tracker.collect(),
    release: () => tracker.release(),
    take: async (n, since) => {
      const lacked = (await smallPresent(tracker)) < small_pages;
      const before = await requested();
      const sure = await tracker.find("sure");
      into.sure_ms.push(sure.find_ms);
      if (lacked) into.requests = Math.max(into.requests ?? 0, (await requested()) - before);
      try {
        const quick = await tracker.find("quick");
        into.quick_ms.push(quick.find_ms);
        const [by_quick, by_sure] = [pagesOf(quick.runs), pagesOf(sure.runs)];
        into.missed += without(by_sure, by_quick);
        into.surplus += without(by_quick, by_sure);
        into.compared++;
      } catch (error) {
        if (!(error instanceof PagescanError) || error.reason !== "untracked") throw error;
      }
      return await tracker.take(n, since);
    },
  };
}
