import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { apply, PAGES, PageTable, sameMemory } from "./memory.ts";

/** What can happen between two transactions that the escrow keeps. */
const event = fc.oneof(
  fc.record({ kind: fc.constant("write" as const), page: fc.integer({ min: 0, max: PAGES - 1 }) }),
  /** Taken, and stored, lost, or dropped after it was collected. */
  fc.record({ kind: fc.constant("take" as const), stored: fc.boolean() }),
);

describe("the page table of the model", () => {
  it("gives base + log = memory at every stored transaction, whatever was dropped in between", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), (events) => {
        const table = new PageTable();
        const memory = new Int32Array(PAGES);
        const log = new Int32Array(PAGES);
        let stored = 0;
        let last = 0;
        let writes = 0;
        for (const what of events) {
          if (what.kind === "write") {
            writes += 1;
            memory[what.page] = writes;
            table.note(what.page);
            continue;
          }
          last += 1;
          table.collect(last);
          if (!what.stored) continue;
          const pages = table.since(stored);
          apply(log, { pages, contents: pages.map((page) => memory[page] ?? 0) });
          stored = last;
          if (!sameMemory(log, memory)) throw new Error(`transaction ${last} lacks a page`);
        }
      }),
    );
  });

  it("knows all that ever changed, and nothing after it was made to forget", () => {
    const table = new PageTable();
    for (const page of [3, 5]) table.note(page);
    table.collect(1);
    table.note(5);
    table.collect(2);
    expect(table.since(0)).toEqual([3, 5]);
    expect(table.since(1)).toEqual([5]);
    table.forget();
    expect(table.since(0)).toEqual([]);
  });
});
