import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageToWrite } from "../../qemu/stream/writer.ts";
import { PageMap } from "../pages/page-map.ts";
import type { TargetFeed } from "../relay/feed.ts";
import { AheadIntake } from "./ahead-intake.ts";
import { holesAfter } from "./target-store.ts";
import { packed, packRuns } from "./testing/runs.ts";

const RAM_PAGES = 40;
const SMALL = "pc.bios";
const BLOCKS = [
  { name: RAM_BLOCK, bytes: RAM_PAGES * PAGE_BYTES },
  { name: SMALL, bytes: 4 * PAGE_BYTES },
];
let root: string;
let count = 0;
beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "ahead-test-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function intake(): { intake: AheadIntake; path: string; streamed: PageToWrite[]; told: Buffer[] } {
  count += 1;
  const path = join(root, `ram-${count}`);
  writeFileSync(path, "");
  truncateSync(path, RAM_PAGES * PAGE_BYTES);
  const streamed: PageToWrite[] = [];
  const told: Buffer[] = [];
  const feed = {
    writePages: (pages: readonly PageToWrite[]) => void streamed.push(...pages),
    write: (command: Buffer) => void told.push(command),
    ping: () => undefined,
  };
  return { intake: new AheadIntake("a", BLOCKS, feed as unknown as TargetFeed, path), path, streamed, told };
}

const pageOf = (fill: number): Buffer | null => (fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill));

/** Pages that a discard command names: "block:page". */
function named(commands: readonly Buffer[]): string[] {
  return commands.flatMap((command) => {
    const data = command.subarray(5);
    const name = data.toString("latin1", 2, 2 + data.readUInt8(1));
    const pages: string[] = [];
    for (let at = 3 + name.length; at < data.length; at += 16) {
      const first = Number(data.readBigUInt64BE(at)) / PAGE_BYTES;
      for (let i = 0; i < Number(data.readBigUInt64BE(at + 8)) / PAGE_BYTES; i += 1) pages.push(`${name}:${first + i}`);
    }
    return pages;
  });
}

const sends = fc.array(
  fc.record({
    block: fc.constantFrom(RAM_BLOCK, RAM_BLOCK, RAM_BLOCK, SMALL),
    first: fc.nat(RAM_PAGES - 1),
    fills: fc.array(fc.nat(3), { minLength: 1, maxLength: 12 }),
  }),
  { maxLength: 30 },
);

test("what was sent last is in the file or a hole, and what is stale is thrown away: never nothing", () => {
  fc.assert(
    fc.property(sends, fc.uniqueArray(fc.nat(RAM_PAGES - 1), { maxLength: 10 }), fc.nat(3), (all, changed, early) => {
      const { intake: into, path, streamed, told } = intake();
      const is = new Map<string, number>();
      for (const { block, first, fills } of all) {
        const most = block === RAM_BLOCK ? RAM_PAGES : 4;
        const pages = fills.slice(0, Math.max(0, most - first));
        if (pages.length === 0) continue;
        into.take({ block, first, pages: pages.map(pageOf) });
        for (const [i, fill] of pages.entries()) is.set(`${block}:${first + i}`, fill);
      }
      const everything = BLOCKS.flatMap(({ name, bytes }) =>
        Array.from({ length: bytes / PAGE_BYTES }, (_, page) => [name, page] as const),
      );
      const stale = everything.filter(
        ([name, page]) => !is.has(`${name}:${page}`) || (name === RAM_BLOCK && changed.includes(page)),
      );
      if (stale.length === 0) stale.push([RAM_BLOCK, 0]);
      const runs: Record<string, [number, number][]> = {};
      for (const [name, page] of stale) runs[name] = [...(runs[name] ?? []), [page, 1]];
      // Some of it was known to be stale while the guest still ran, and said in pieces.
      for (let i = 0; i < early; i += 1) {
        for (const [block, of] of Object.entries(runs))
          into.throwAway(block, 0, packRuns(of.filter(([page]) => page % 4 === i)));
      }
      const ahead = { base: "a", stale: packed(runs), frames: into.frames };
      expect(into.hasAll(ahead)).toBe(true);
      const file = readFileSync(path);
      const before = named(told);
      const gone = [...before, ...named(into.settle(ahead))];
      expect(new Set(gone).size).toBe(gone.length);
      into.close();

      expect(gone.length).toBeGreaterThan(0);
      const is_stale = new Set(stale.map(([name, page]) => `${name}:${page}`));
      expect(gone.filter((page) => !is_stale.has(page))).toEqual([]);
      expect(into.map.pages_total - into.map.count).toBe(is_stale.size);
      for (const [name, page] of everything) {
        const key = `${name}:${page}`;
        const fill = is.get(key);
        expect(into.map.has(name, page)).toBe(!is_stale.has(key));
        if (name !== RAM_BLOCK) continue;
        const content = file.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
        if (fill !== undefined) expect(content.equals(pageOf(fill) ?? Buffer.alloc(PAGE_BYTES))).toBe(true);
        // Whatever comes once more is not to be there: where there are huge pages not even a hole is one.
        if (is_stale.has(key)) expect(gone).toContain(key);
        if (is_stale.has(key)) expect(into.holes.has(page)).toBe(false);
      }
      const last = new Map(streamed.map(({ block, page, bytes }) => [`${block}:${page}`, bytes?.[0] ?? 0]));
      for (const [key, fill] of is) if (key.startsWith(SMALL)) expect(last.get(key)).toBe(fill);
    }),
  );
});

test("a page that is stale goes though it is a hole: beside one that was written a huge page has put zeros there", () => {
  const { intake: into } = intake();
  const pages = Array.from({ length: RAM_PAGES - 4 }, (_, page) => pageOf(page === 3 ? 1 : 0));
  into.take({ block: RAM_BLOCK, first: 0, pages });
  into.take({ block: SMALL, first: 0, pages: Array.from({ length: 4 }, () => null) });
  // Pages 1, 2 and 4 are holes, and the last four were never sent.
  const ram: [number, number][] = [
    [1, 2],
    [3, 2],
    [RAM_PAGES - 4, 4],
  ];
  const commands = into.settle({ base: "a", stale: packed({ [RAM_BLOCK]: ram }), frames: 2 });
  into.close();
  const last = [1, 2, 3, 4].map((back) => RAM_PAGES - 5 + back);
  expect(named(commands)).toEqual([1, 2, 3, 4, ...last].map((page) => `${RAM_BLOCK}:${page}`));
  // What is in a row is one range of it.
  expect(commands.map((command) => command.length)).toEqual([5 + 3 + RAM_BLOCK.length + 2 * 16]);
});

test("of a guest of 64 GiB of which nothing was sent all goes in one range", () => {
  count += 1;
  const path = join(root, `ram-${count}`);
  writeFileSync(path, "");
  const bytes = 64 * 2 ** 30;
  const into = new AheadIntake("a", [{ name: RAM_BLOCK, bytes }], {} as TargetFeed, path);
  const commands = into.settle({ base: "a", stale: packed({ [RAM_BLOCK]: [[0, bytes / PAGE_BYTES]] }), frames: 0 });
  into.close();
  expect(commands.map((command) => command.readBigUInt64BE(command.length - 8))).toEqual([BigInt(bytes)]);
});

test("nothing runs of what is not whole, of another attempt, or with nothing to come", () => {
  const { intake: into } = intake();
  into.take({ block: RAM_BLOCK, first: 0, pages: [pageOf(1), pageOf(2)] });
  const stale = packed({ [RAM_BLOCK]: [[3, RAM_PAGES - 3]], [SMALL]: [[0, 4]] });
  // Page 2 was sent and did not come.
  expect(into.hasAll({ base: "a", stale, frames: 2 })).toBe(false);
  expect(() => into.settle({ base: "a", stale, frames: 2 })).toThrow(/1 frames came of 2/);
  expect(() => into.settle({ base: "a", stale, frames: 1 })).toThrow(/pages are missing/);
  expect(() => into.settle({ base: "b", stale, frames: 1 })).toThrow(/another attempt/);
  into.close();
  const whole = intake().intake;
  whole.take({ block: RAM_BLOCK, first: 0, pages: Array.from({ length: RAM_PAGES }, () => null) });
  whole.take({ block: SMALL, first: 0, pages: Array.from({ length: 4 }, () => null) });
  expect(() => whole.settle({ base: "a", stale: {}, frames: 2 })).toThrow(/would not run/);
  whole.close();
});

test("a page that was sent again is not here before it has come again: nothing runs of what it was", () => {
  const { intake: into } = intake();
  into.take({ block: RAM_BLOCK, first: 0, pages: Array.from({ length: RAM_PAGES }, () => pageOf(1)) });
  into.take({ block: SMALL, first: 0, pages: Array.from({ length: 4 }, () => null) });
  // Pages 5 and 6 changed, and were sent once more in a later round; page 9 is stale. The package came before that frame.
  const ahead = { base: "a", stale: packed({ [RAM_BLOCK]: [[9, 1]] }), frames: 3 };
  expect(into.hasAll(ahead)).toBe(false);
  expect(() => into.settle(ahead)).toThrow(/2 frames came of 3/);
  into.take({ block: RAM_BLOCK, first: 5, pages: [pageOf(2), pageOf(2)] });
  expect(into.hasAll(ahead)).toBe(true);
  into.settle(ahead);
  into.close();
});

test("after a recovery our account counts: QEMU's knows nothing of what was written behind its back", () => {
  // QEMU says that it has page 5, which came in post-copy, and the small block.
  const map = new PageMap(BLOCKS);
  map.add(RAM_BLOCK, 5);
  for (let page = 0; page < 4; page += 1) map.add(SMALL, page);
  const holes = holesAfter({ base: "a", stale: packed({ [RAM_BLOCK]: [[5, 3]] }), frames: 0 }, BLOCKS, map);
  const missing = Array.from({ length: RAM_PAGES }, (_, page) => page).filter((page) => !map.has(RAM_BLOCK, page));
  expect(missing).toEqual([6, 7]);
  // Asked for and not stale: it is not in the file, so it is zeros; but what QEMU has is never sent again.
  expect([4, 5, 6, 8].map((page) => holes.has(page))).toEqual([true, false, false, true]);
});

test("what is thrown away early is waited for until QEMU has answered, and nothing comes behind it", async () => {
  const { intake: into, told } = intake();
  const all = Array.from({ length: RAM_PAGES }, () => pageOf(1));
  into.take({ block: RAM_BLOCK, first: 0, pages: all });
  await into.thrown();
  into.throwAway(RAM_BLOCK, 2, packRuns([[1, 2]]));
  into.throwAway(RAM_BLOCK, 0, packRuns([[9, 1]]));
  let thrown = false;
  const waits = into.thrown().then(() => {
    thrown = true;
  });
  into.hasThrown();
  await Promise.resolve();
  expect(thrown).toBe(false);
  into.hasThrown();
  await waits;
  expect(named(told)).toEqual(["ram0:3", "ram0:4", "ram0:9"]);
  // QEMU might throw it away after it was written.
  expect(() => into.take({ block: RAM_BLOCK, first: 3, pages: [pageOf(2)] })).toThrow(/come behind/);
  // A source that thinks that one of them is there is wrong.
  const without = { base: "a", stale: packed({ [RAM_BLOCK]: [[3, 2]], [SMALL]: [[0, 4]] }), frames: 1 };
  expect(() => into.settle(without)).toThrow(/pages are missing/);
  into.throwAway(RAM_BLOCK, 0, packRuns([[11, 1]]));
  const ended = into.thrown();
  into.close();
  await ended;
});

test("what is stale and lies nowhere is refused, however much it is said to be", () => {
  const { intake: into } = intake();
  // Packed: how far, how many.
  const nowhere = Buffer.of(0, RAM_PAGES - 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20);
  expect(() => into.throwAway(RAM_BLOCK, 0, nowhere)).toThrow(/of 40/);
  expect(() => into.throwAway("no such block", 0, packRuns([[0, 1]]))).toThrow(RangeError);
  expect(() => into.throwAway(RAM_BLOCK, 41, packRuns([[0, 1]]))).toThrow(/nowhere/);
  expect(() => into.settle({ base: "a", stale: { [RAM_BLOCK]: nowhere }, frames: 0 })).toThrow(/of 40/);
  into.close();
});
