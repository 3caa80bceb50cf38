import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { makeRamImage, type RamImageOptions } from "./ram-image.ts";
import { contentOf, keyOf, pageOfStep, writeContent } from "./rule.ts";
import { decodeStatusPage, STATUS_ADDRESS } from "./status-page.ts";
import { verifyRam } from "./verify-ram.ts";

const FIRST = 0x400000;
const base: RamImageOptions = { seed: 5, regions: [40], steps: [70], fill: "full" };
const image = fc
  .record({
    seed: fc.integer({ min: 0, max: 0xffffffff }),
    regions: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 3 }),
    working: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 3, maxLength: 3 }),
    steps: fc.array(fc.nat(40), { minLength: 3, maxLength: 3 }),
    fill: fc.constantFrom("none" as const, "head" as const, "full" as const),
  })
  .map((made) => ({ ...made, working: made.regions.map((pages, cpu) => Math.min(pages, made.working[cpu] ?? pages)) }));

function* pieces(ram: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < ram.length; at += size) yield ram.subarray(at, at + size);
}

describe("verifyRam", () => {
  it("finds nothing wrong with what the rule makes, torn step or not", async () => {
    await fc.assert(
      fc.asyncProperty(image, fc.option(fc.integer({ min: 0, max: 1024 })), async (options, words_new) => {
        const ram = makeRamImage({ ...options, ...(words_new !== null && { words_new }) });
        const found = await verifyRam(ram);
        expect(found.bad).toEqual([]);
        expect(found.ok).toBe(true);
        expect(found.pages_checked).toBe(options.regions.reduce((sum, count) => sum + count, 0));
        expect(found.mixed).toHaveLength(words_new === null ? 0 : 1);
        // Words may be alike in old and new content, all of them where both are zeros: more looks new than was written then.
        for (const mixed of found.mixed) {
          expect(mixed.words_new).toBeGreaterThanOrEqual(words_new ?? 0);
          const as_told = makeRamImage({ ...options, words_new: mixed.words_new });
          expect(Buffer.compare(as_told, ram)).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("says the same however the image is cut into chunks", async () => {
    const ram = makeRamImage({ ...base, words_new: 17 });
    ram.fill(0, FIRST + 3 * 4096, FIRST + 4 * 4096);
    const whole = await verifyRam(ram);
    expect(whole.bad_count).toBe(1);
    for (const size of [4097, 65536, 1_000_003, 5_000_000]) {
      expect({ ...(await verifyRam(pieces(ram, size))), mib_per_s: 0 }).toEqual({ ...whole, mib_per_s: 0 });
    }
  });

  it("finds any single flipped bit of the working memory and names its page and word", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(40 * 4096 - 1), fc.nat(7), async (at, bit) => {
        const ram = makeRamImage(base);
        ram[FIRST + at] = (ram[FIRST + at] ?? 0) ^ (1 << bit);
        const { ok, bad_count, bad } = await verifyRam(ram);
        expect({ ok, bad_count }).toEqual({ ok: false, bad_count: 1 });
        const page = Math.floor(at / 4096);
        expect(bad[0]).toMatchObject({
          page,
          address: FIRST + page * 4096,
          word: Math.floor((at % 4096) / 4),
          wrong_words: 1,
        });
      }),
      { numRuns: 60 },
    );
  });

  it("allows a torn page in each processor's region, and finds a flipped bit in any of them", async () => {
    const eight = fc.array(
      fc.record({
        pages: fc.integer({ min: 2, max: 6 }),
        done: fc.nat(30),
        words_new: fc.option(fc.integer({ min: 0, max: 1024 }), { nil: undefined }),
      }),
      { minLength: 2, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(eight, fc.nat(), fc.nat(4095), fc.nat(7), async (cpus, any_page, byte, bit) => {
        const regions = cpus.map(({ pages }) => pages);
        const steps = cpus.map(({ done }) => done);
        const ram = makeRamImage({ ...base, regions, steps, words_new: cpus.map(({ words_new }) => words_new) });
        const whole = await verifyRam(ram);
        expect({ ok: whole.ok, bad: whole.bad, steps: whole.steps }).toEqual({ ok: true, bad: [], steps });
        expect(whole.mixed.map(({ cpu }) => cpu)).toEqual(
          cpus.flatMap(({ words_new }, cpu) => (words_new === undefined ? [] : [cpu])),
        );
        const page = any_page % whole.pages_checked;
        // Of a page in the middle of a step no bit more may be wrong either, but which word is old is another test's.
        if (whole.mixed.some((mixed) => mixed.page === page)) return;
        const at = FIRST + page * 4096 + byte;
        ram[at] = (ram[at] ?? 0) ^ (1 << bit);
        const owner = whole.status.cpus.findLast(({ region }) => region.first_page <= page);
        expect((await verifyRam(ram)).bad).toMatchObject([{ page, cpu: owner?.region.cpu, wrong_words: 1 }]);
      }),
      { numRuns: 60 },
    );
  });

  it("names a stale page by the step whose content it still holds", async () => {
    const ram = makeRamImage(base);
    const older = makeRamImage({ ...base, steps: [69] });
    const page = pageOfStep({ seed: 5, cpu: 0, first_page: 0, pages: 40, working_pages: 40 }, 70);
    const from = FIRST + page * 4096;
    ram.set(older.subarray(from, from + 4096), from);
    const { bad } = await verifyRam(ram);
    expect(bad).toHaveLength(1);
    expect(bad[0]).toMatchObject({ page, expected_step: 70, word: 0 });
    expect(bad[0]?.found).toMatch(/^content of step \d+$/);
  });

  it("names swapped pages, zeros and a page torn where no step was in progress", async () => {
    const ram = makeRamImage(base);
    const page = (at: number): Uint8Array => ram.subarray(FIRST + at * 4096, FIRST + (at + 1) * 4096);
    page(2).set(page(9).slice());
    page(20).fill(0);
    const older = makeRamImage({ ...base, steps: [70 - 40] });
    page(30).set(older.subarray(FIRST + 30 * 4096, FIRST + 30 * 4096 + 2048));
    const { bad, bad_count } = await verifyRam(ram);
    expect(bad.find((one) => one.page === 2)?.found).toMatch(/^content of step \d+ of page 9$/);
    expect(bad.find((one) => one.page === 20)?.found).toBe("all zeros");
    expect(bad.find((one) => one.page === 30)?.found).toMatch(/up to word 512, then as expected$/);
    expect(bad_count).toBe(3);
  });

  it("allows the torn page to be a prefix of the new and the rest of the old, and nothing else", async () => {
    const ram = makeRamImage({ ...base, words_new: 100 });
    const page = pageOfStep({ seed: 5, cpu: 0, first_page: 0, pages: 40, working_pages: 40 }, 71);
    const at = FIRST + page * 4096;
    ram[at + 4 * 500] = (ram[at + 4 * 500] ?? 0) ^ 1;
    const { bad, mixed } = await verifyRam(ram);
    expect(mixed).toEqual([]);
    expect(bad[0]).toMatchObject({ page, word: 500 });
  });

  it("knows that pages behind the working set stay as they were filled", async () => {
    const ram = makeRamImage({ ...base, working: [8], steps: [700] });
    expect(await verifyRam(ram)).toMatchObject({ ok: true, pages_checked: 40, status: { working_pages: 8 } });
    const page = 8 + 20;
    writeContent(new Int32Array(ram.buffer, FIRST), page * 1024, contentOf(keyOf(5, 0), page, 7, "full"));
    const { bad } = await verifyRam(ram);
    expect(bad).toMatchObject([{ page, expected_step: 0, found: "content of step 7" }]);
  });

  it("names sixteen bad pages and counts the rest", async () => {
    const ram = makeRamImage(base);
    ram.fill(0xff, FIRST);
    const { bad, bad_count } = await verifyRam(ram);
    expect([bad.length, bad_count]).toEqual([16, 40]);
  });

  it("reads the ledger and names an entry that is not what was written there", async () => {
    const ledger = [0, 1, 2].map((i) => ({ value: i * 7, client: 9, client_seq: i + 1 }));
    const ram = makeRamImage({ ...base, ledger });
    expect((await verifyRam(ram)).ledger).toEqual(ledger.map((entry, index) => ({ index, ...entry })));
    ram[0x200010] = 99;
    const { ok, ledger_bad } = await verifyRam(ram);
    expect(ok).toBe(false);
    expect(ledger_bad).toEqual(["ledger entry 1 (value 99, client 9, number 2): checksum does not hold"]);
  });

  it("refuses an image that ends too early or has no status page", async () => {
    const ram = makeRamImage(base);
    await expect(verifyRam(ram.subarray(0, FIRST + 5000))).rejects.toThrow("ends at page 1 of");
    await expect(verifyRam(ram.subarray(0, 1000))).rejects.toThrow("ends after 1000 bytes");
    await expect(verifyRam(new Uint8Array(ram.length))).rejects.toThrow("all zeros");
  });
});

describe("decodeStatusPage", () => {
  const page = (change: (view: DataView) => void): Uint8Array => {
    const bytes = makeRamImage(base).slice(STATUS_ADDRESS, STATUS_ADDRESS + 4096);
    change(new DataView(bytes.buffer));
    return bytes;
  };

  it("reads what was written", () => {
    expect(decodeStatusPage(page(() => undefined))).toMatchObject({
      seed: 5,
      pages: 40,
      fill: "full",
      phase: "working",
      errors: 0,
    });
  });

  it("tells of each contradiction in one sentence", () => {
    const complaints: [RegExp, (view: DataView) => void][] = [
      [/magic is missing/, (view) => view.setUint32(0, 1, true)],
      [/version 1/, (view) => view.setUint32(8, 1, true)],
      [/works on 41 of its 40 pages/, (view) => view.setUint32(0x110, 41, true)],
      [/working sets of 39 pages, 40 in all/, (view) => view.setUint32(0x110, 39, true)],
      [/checksum does not hold/, (view) => view.setUint32(0x0c, 6, true)],
      [/begun step 90 and done 70/, (view) => view.setUint32(0x108, 90, true)],
      [/unknown phase 9/, (view) => view.setUint32(0x40, 9, true)],
      [/70000 ledger entries/, (view) => view.setUint32(0x64, 70000, true)],
      [/regions of 41 pages, 40 in all/, (view) => view.setUint32(0x104, 41, true)],
    ];
    for (const [complaint, change] of complaints) expect(() => decodeStatusPage(page(change))).toThrow(complaint);
    expect(() => decodeStatusPage(new Uint8Array(10))).toThrow(UserError);
  });
});
