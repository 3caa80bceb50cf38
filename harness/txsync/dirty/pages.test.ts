import fc from "fast-check";
import { expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { type ChangedPage, PageSet, pagesOf } from "./pages.ts";

const changedPage: fc.Arbitrary<ChangedPage> = fc.record({
  block: fc.constantFrom("ram0", "pc.bios", "/rom@etc/acpi/tables"),
  page: fc.nat({ max: 2 ** 32 - 1 }),
  bytes: fc.option(
    fc.integer({ min: 1, max: 255 }).map((byte) => Buffer.alloc(PAGE_BYTES, byte)),
    { nil: null },
  ),
});

test("a page set gives back the pages that it was made of, in order", () => {
  fc.assert(
    fc.property(fc.array(changedPage, { maxLength: 20 }), (pages) => {
      const set = PageSet.of(pages);
      const again = new PageSet(set.blocks, set.entries, set.content);
      expect([...again].map(({ block, page, bytes }) => [block, page, bytes?.[0] ?? null])).toEqual(
        pages.map(({ block, page, bytes }) => [block, page, bytes?.[0] ?? null]),
      );
      expect(again.pages).toBe(pages.length);
      expect(again.zero_pages).toBe(pages.filter(({ bytes }) => bytes === null).length);
      expect(again.bytes).toBe(pages.length * 8 + (again.pages - again.zero_pages) * PAGE_BYTES);
    }),
  );
});

test("a page set whose parts do not fit each other is refused", () => {
  const whole = PageSet.of([
    { block: "ram0", page: 1, bytes: Buffer.alloc(PAGE_BYTES, 1) },
    { block: "ram0", page: 2, bytes: null },
  ]);
  expect(() => new PageSet(whole.blocks, whole.entries, whole.content.subarray(1))).toThrow(/2? ?pages|of 1 pages/);
  expect(() => new PageSet(whole.blocks, whole.entries.subarray(1), whole.content)).toThrow(/15 bytes of entries/);
  expect(() => new PageSet([], whole.entries, whole.content)).toThrow(/without a block 0/);
});

test("runs name every page once", () => {
  const pages = pagesOf([
    { block: "a", first: 3, count: 2 },
    { block: "b", first: 4, count: 1 },
  ]);
  expect([...pages]).toEqual(["a:3", "a:4", "b:4"]);
});
