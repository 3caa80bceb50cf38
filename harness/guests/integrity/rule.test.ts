import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Content,
  contentOf,
  firstDifference,
  isZero,
  keyOf,
  lastSteps,
  pageAt,
  pageOfStep,
  placeOf,
  roundOf,
  WORDS_PER_PAGE,
  wordOf,
  writeContent,
} from "./rule.ts";

const fixture = new URL("../../../fixtures/guests/integrity/", import.meta.url).pathname;
const wordsOf = (content: Content): readonly number[] => [0, 1, 2, 3, 1023].map((i) => wordOf(content, i));
const uint32 = fc.integer({ min: 0, max: 0xffffffff });

interface Vector {
  readonly seed: number;
  readonly cpu: number;
  readonly pages: number;
  readonly round: number;
  readonly a: number;
  readonly b: number;
  readonly a_inverse: number;
  readonly step: number;
  readonly page: number;
  readonly place: number;
  readonly key: number;
  readonly start: number;
  readonly delta: number;
  /** 1: that step leaves a page of zeros. */
  readonly zero: number;
  /** A page, perhaps behind the working set, and the step that wrote it last when `step` steps are done. */
  readonly probe: number;
  readonly last: number;
}
const kept = readFileSync(join(fixture, "rule-vectors.json"), "utf8");

describe("the rule", () => {
  it("gives the answers of the guest's own C code", () => {
    const vectors = JSON.parse(kept) as Vector[];
    expect(vectors.length).toBeGreaterThan(100);
    for (const v of vectors) {
      const key = keyOf(v.seed, v.cpu);
      const round = roundOf(key, v.round, v.pages);
      expect({ key, ...round }).toEqual({ key: v.key, a: v.a, b: v.b, a_inverse: v.a_inverse });
      const region = { seed: v.seed, cpu: v.cpu, first_page: 0, pages: v.pages + 3, working_pages: v.pages };
      expect(pageOfStep(region, v.step)).toBe(v.page);
      expect(lastSteps(region, v.step)(v.probe)).toBe(v.last);
      expect(placeOf(round, v.page, v.pages)).toBe(v.place);
      const { start, delta } = contentOf(key, v.page, v.step, "full");
      const zero = isZero(key, v.step);
      expect({ start, delta, zero }).toEqual(
        v.zero === 1 ? { start: 0, delta: 0, zero: true } : { start: v.start, delta: v.delta, zero: false },
      );
    }
  });

  it("has vectors that rule.h still prints, where a compiler is there", ({ skip }) => {
    try {
      execFileSync("gcc", ["--version"], { stdio: "ignore" });
    } catch {
      skip("no gcc");
    }
    const folder = mkdtempSync(join(tmpdir(), "rule-vectors-"));
    try {
      execFileSync("gcc", ["-O1", "-o", join(folder, "vectors"), join(fixture, "rule-vectors.c")]);
      const printed: unknown = JSON.parse(execFileSync(join(folder, "vectors"), { encoding: "utf8" }));
      expect(printed).toEqual(JSON.parse(kept));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("rewrites every page once a round, and placeOf undoes pageAt", () => {
    fc.assert(
      fc.property(uint32, fc.nat(20), fc.integer({ min: 1, max: 400 }), (key, number, pages) => {
        const round = roundOf(key, number, pages);
        const seen = new Set<number>();
        for (let k = 0; k < pages; k++) {
          const page = pageAt(round, k, pages);
          seen.add(page);
          expect(placeOf(round, page, pages)).toBe(k);
        }
        expect(seen.size).toBe(pages);
      }),
    );
  });

  it("stays exact at the largest sizes", () => {
    fc.assert(
      fc.property(uint32, fc.nat(1000), fc.integer({ min: 1, max: 2 ** 20 }), fc.nat(), (key, number, pages, any) => {
        const round = roundOf(key, number, pages);
        const k = any % pages;
        expect(pageAt(round, k, pages)).toBe(Number((BigInt(round.a) * BigInt(k) + BigInt(round.b)) % BigInt(pages)));
        expect(placeOf(round, pageAt(round, k, pages), pages)).toBe(k);
      }),
    );
  });

  it("leaves a page of zeros with one step of 16 or so, and never before the first", () => {
    fc.assert(
      fc.property(uint32, fc.nat(1_000_000), fc.constantFrom("none", "head", "full"), (seed, from, fill) => {
        const key = keyOf(seed, 0);
        const steps = Array.from({ length: 6_400 }, (_, i) => from + i + 1).filter((step) => isZero(key, step));
        expect(steps.length).toBeGreaterThan(280);
        expect(steps.length).toBeLessThan(520);
        for (const step of steps) expect(wordsOf(contentOf(key, 5, step, fill))).toEqual([0, 0, 0, 0, 0]);
        expect(isZero(key, 0)).toBe(false);
      }),
    );
  });

  it("knows which step wrote a page last, as if one had watched", () => {
    fc.assert(
      fc.property(
        uint32,
        fc.nat(3),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(10),
        fc.nat(50),
        fc.nat(200),
        (seed, cpu, working_pages, idle_pages, first_page, done) => {
          const pages = working_pages + idle_pages;
          const region = { seed, cpu, first_page, pages, working_pages };
          const watched = new Map<number, number>();
          for (let step = 1; step <= done; step++) watched.set(pageOfStep(region, step), step);
          const last = lastSteps(region, done);
          for (let page = first_page; page < first_page + pages; page++)
            expect(last(page)).toBe(watched.get(page) ?? 0);
        },
      ),
    );
  });

  it("finds the first word that is not as it must be, and only then", () => {
    const words = new Int32Array(WORDS_PER_PAGE * 2);
    const word = fc.nat(WORDS_PER_PAGE - 1);
    const change = fc.integer({ min: 1, max: 0xffffffff });
    fc.assert(
      fc.property(
        uint32,
        uint32,
        fc.nat(2 ** 20),
        fc.constantFrom("none", "head", "full"),
        word,
        change,
        (key, step, page, fill, at, by) => {
          const content = contentOf(key, page, step, fill);
          writeContent(words, WORDS_PER_PAGE, content);
          expect(firstDifference(words, WORDS_PER_PAGE, content)).toBe(-1);
          words[WORDS_PER_PAGE + at] = wordOf(content, at) ^ by;
          expect(firstDifference(words, WORDS_PER_PAGE, content)).toBe(at);
        },
      ),
    );
  });
});
