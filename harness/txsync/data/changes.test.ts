import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RecordedChanges } from "./changes.ts";
import { BLOCKS, ModelGuest, numbered } from "./testing/model-guest.ts";

let folder: string;
let guest: ModelGuest;
let changes: RecordedChanges;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-changes-"));
  guest = new ModelGuest(folder, 3);
  changes = new RecordedChanges({ pagescan: "", pid: 0, blocks: [] });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const take = (n: number, since: number | "base"): void =>
  changes.note(guest.take({ ...numbered(1, n), since: since as never }).spool);

describe("what the transactions of a protected VM say of its memory", () => {
  it("is told when one was taken after it was asked, in runs, zeros too", async () => {
    const looking = changes.look();
    for (const page of [4, 5, 6, 20]) guest.write(0, page, page === 5 ? 0 : 7);
    guest.write(1, 1, 9);
    take(1, "base");
    expect(await looking).toEqual([
      { block: BLOCKS[0].name, first: 4, count: 3 },
      { block: BLOCKS[0].name, first: 20, count: 1 },
      { block: BLOCKS[1].name, first: 1, count: 1 },
    ]);
  });

  it("lacks nothing of one that was never sent: it is in the next", async () => {
    guest.write(0, 4, 7);
    guest.take({ ...numbered(1, 1), since: "base" });
    guest.write(0, 9, 7);
    const looking = changes.look();
    take(2, "base");
    expect(await looking).toEqual([
      { block: BLOCKS[0].name, first: 4, count: 1 },
      { block: BLOCKS[0].name, first: 9, count: 1 },
    ]);
  });

  it("is known without waiting as far as they have told, and is told once", async () => {
    expect(await changes.glance()).toEqual([]);
    guest.write(0, 4, 7);
    take(1, "base");
    expect(await changes.glance()).toEqual([{ block: BLOCKS[0].name, first: 4, count: 1 }]);
    const looking = changes.look();
    guest.write(0, 9, 7);
    take(2, 1);
    expect(await looking).toEqual([{ block: BLOCKS[0].name, first: 9, count: 1 }]);
  });

  it("is all there is when the guest stands still", async () => {
    guest.write(0, 4, 7);
    take(1, "base");
    changes.still();
    expect(await changes.look()).toEqual([{ block: BLOCKS[0].name, first: 4, count: 1 }]);
    expect(await changes.look()).toEqual([]);
  });
});
