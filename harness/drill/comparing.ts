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
  /** Whether a look has fetched what lacked of small blocks: it must not. Undefined where some had come before it. */
  fetches: boolean | undefined;
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
 */
export function comparing(
  tracker: PagescanTracker,
  small_pages: number,
  into: Comparison,
): Pick<DirtyTracker, "take" | "collect" | "release"> {
  return {
    collect: () => tracker.collect(),
    release: () => tracker.release(),
    take: async (n, since) => {
      const lacked = into.fetches === undefined && (await smallPresent(tracker)) === 0;
      const sure = await tracker.find("sure");
      into.sure_ms.push(sure.find_ms);
      // The stream goes on meanwhile and may have brought some; a look that reads what is not there brings all.
      if (lacked) into.fetches = (await smallPresent(tracker)) === small_pages;
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
