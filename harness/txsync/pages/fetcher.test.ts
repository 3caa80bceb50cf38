import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import type { PageRun } from "../dirty/pages.ts";
import { Random } from "../sim/random.ts";
import { type FetcherOptions, PageFetcher } from "./fetcher.ts";
import { SERVED_AFTER_MS_MAX } from "./pace.ts";
import { RUN_PAGES_MAX } from "./page-frames.ts";
import { type BlockSize, PageMap } from "./page-map.ts";

const BLOCKS: readonly BlockSize[] = [
  { name: "ram0", bytes: 150 * PAGE_BYTES },
  { name: "pc.bios", bytes: 7 * PAGE_BYTES },
  { name: "tiny", bytes: PAGE_BYTES },
];
const SIZES = new Map(BLOCKS.map(({ name, bytes }) => [name, bytes / PAGE_BYTES]));
const PAGES = [...SIZES].flatMap(([block, pages]) => Array.from({ length: pages }, (_, page) => ({ block, page })));
const TICK_MS = 2;
/** There and back, when the network is good. */
const GOOD_MS = 6;

type Answer = Parameters<PageFetcher["answered"]>[0];

/** The base, which changes only by discards: every fifth page is all zeros, every other one says which it is. */
function contentOf(key: string, version: number): Buffer | null {
  return (placeOf(key).page + version) % 5 === 3 ? null : Buffer.from(`${key} ${version}`);
}

type Step =
  /** Time passes on a network like this. */
  | {
      readonly do: "run";
      readonly ticks: number;
      readonly loss: number;
      readonly delay_ms: number;
      readonly twice: number;
    }
  | { readonly do: "want"; readonly block: string; readonly first: number; readonly count: number }
  | { readonly do: "route"; readonly to: "source" | "escrow" | "none" }
  /** The agent dies: what was delivered is there, nothing else is known. */
  | { readonly do: "restart" }
  /** The agent was not scheduled for so long. */
  | { readonly do: "jump"; readonly ms: number }
  /** The escrow's copy grows downwards. */
  | { readonly do: "copy"; readonly pages: number }
  /** Pages are not what they were; what was said of them before does not come any more. */
  | { readonly do: "discard"; readonly block: string; readonly first: number; readonly count: number }
  | { readonly do: "full"; readonly on: boolean }
  | { readonly do: "pause"; readonly on: boolean };

interface Plan {
  readonly seed: number;
  readonly order: "ascending" | "descending";
  readonly window_pages: number;
  readonly bytes_per_s: number;
  readonly retry_ms: number;
  readonly wanted_retry_ms: number;
  readonly steps: readonly Step[];
}

/** Something for the properties to find: they are of no use unless they do. */
interface Broken {
  readonly map?: (blocks: readonly BlockSize[]) => PageMap;
  readonly options?: (options: FetcherOptions) => FetcherOptions;
}

/** A target, whoever has the base, and the network between them, on a clock of their own. */
class World {
  readonly delivered = new Map<string, number>();
  readonly asked_runs: { readonly run: PageRun; readonly urgent: boolean }[] = [];
  readonly #plan: Plan;
  readonly #broken: Broken;
  readonly #random: Random;
  readonly #events: { readonly at_ms: number; readonly order: number; readonly happen: () => void }[] = [];
  /** What the fetcher must know of, kept here a second time: page to its last question. */
  readonly #asked = new Map<string, { at_ms: number; urgent: boolean }>();
  readonly #wanted = new Set<string>();
  readonly #versions = new Map(PAGES.map(({ block, page }) => [`${block}:${page}`, 0]));
  #map = new PageMap(BLOCKS);
  #fetcher: PageFetcher;
  #now_ms = 1000;
  #order = 0;
  #route: "source" | "escrow" | "none" = "source";
  #copied = 0;
  #full = false;
  #bucket: number;
  #bucket_ms = this.#now_ms;
  #network = { loss: 0, delay_ms: GOOD_MS / 2, twice: 0 };

  constructor(plan: Plan, broken: Broken = {}) {
    this.#plan = plan;
    this.#broken = broken;
    this.#random = new Random(plan.seed);
    this.#bucket = this.#burst;
    this.#fetcher = this.#begin();
    this.#fetcher.rested();
  }

  get complete(): boolean {
    return this.delivered.size === PAGES.length;
  }

  get now_ms(): number {
    return this.#now_ms;
  }

  get left(): number {
    return PAGES.length - this.delivered.size;
  }

  step(step: Step): void {
    switch (step.do) {
      case "run":
        this.#network = { ...step, loss: step.loss / 100, twice: step.twice / 100 };
        for (let i = 0; i < step.ticks; i += 1) this.tick();
        return;
      case "want":
        this.#want(step);
        return;
      case "route":
        this.#route = step.to;
        this.#asked.clear();
        this.#fetcher.askAgain();
        return;
      case "restart":
        this.#fetcher = this.#begin();
        // QEMU asks again for what its guest waits for.
        for (const key of this.#wanted) {
          const { block, page } = placeOf(key);
          this.#want({ block, first: page, count: 1 });
        }
        return;
      case "jump":
        this.#now_ms += step.ms;
        return;
      case "copy":
        this.#copied += step.pages;
        return;
      case "discard":
        this.#discard(step);
        return;
      case "full":
        this.#full = step.on;
        return;
      case "pause":
        this.#fetcher.paused = step.on;
        return;
    }
  }

  /** The source is there again, the network loses nothing, the receiver takes everything. */
  heal(): void {
    this.#network = { loss: 0, delay_ms: GOOD_MS / 2, twice: 0 };
    this.#full = false;
    this.#fetcher.paused = false;
    if (this.#route !== "source") this.step({ do: "route", to: "source" });
  }

  tick(): void {
    this.#now_ms += TICK_MS;
    for (;;) {
      const due = this.#events.filter(({ at_ms }) => at_ms <= this.#now_ms);
      const next = due.sort((a, b) => a.at_ms - b.at_ms || a.order - b.order)[0];
      if (next === undefined) break;
      this.#events.splice(this.#events.indexOf(next), 1);
      next.happen();
    }
    this.#tickFetcher();
  }

  #begin(): PageFetcher {
    const { order, window_pages, bytes_per_s, retry_ms, wanted_retry_ms } = this.#plan;
    const map = this.#broken.map?.(BLOCKS) ?? new PageMap(BLOCKS);
    this.#map = map;
    for (const key of this.delivered.keys()) {
      const { block, page } = placeOf(key);
      map.add(block, page);
    }
    this.#asked.clear();
    const options: FetcherOptions = {
      map,
      order,
      window_pages,
      bytes_per_s,
      retry_ms,
      wanted_retry_ms,
      ask: (runs, urgent) => this.#ask(runs, urgent),
      deliver: (block, first, pages) => this.#deliver(block, first, pages),
      full: () => this.#full,
    };
    return new PageFetcher(this.#broken.options?.(options) ?? options);
  }

  #tickFetcher(): void {
    const { retry_ms, wanted_retry_ms } = this.#plan;
    for (const [key, { at_ms, urgent }] of this.#asked) {
      if (this.#now_ms - at_ms >= (urgent ? wanted_retry_ms : retry_ms)) this.#asked.delete(key);
    }
    this.#fetcher.tick(this.#now_ms);
  }

  #want(run: PageRun): void {
    for (let page = run.first; page < run.first + run.count; page += 1) {
      const key = `${run.block}:${page}`;
      if (this.#versions.has(key) && !this.delivered.has(key)) this.#wanted.add(key);
    }
    this.#fetcher.want(run, this.#now_ms);
  }

  #discard({ block, first, count }: PageRun): void {
    this.#events.length = 0;
    for (let page = first; page < first + count; page += 1) {
      const key = `${block}:${page}`;
      const version = this.#versions.get(key);
      if (version === undefined) continue;
      this.#versions.set(key, version + 1);
      this.#map.remove(block, page);
      this.delivered.delete(key);
    }
    this.#asked.clear();
    this.#fetcher.askAgain();
  }

  // ---- what the fetcher does

  #ask(runs: readonly PageRun[], urgent: boolean): boolean {
    expect(runs.length).toBeGreaterThan(0);
    const keys = runs.flatMap(({ block, first, count }) => {
      expect(count).toBeGreaterThan(0);
      expect(count).toBeLessThanOrEqual(RUN_PAGES_MAX);
      return Array.from({ length: count }, (_, i) => `${block}:${first + i}`);
    });
    expect(new Set(keys).size).toBe(keys.length);
    for (const key of keys) {
      expect(this.#versions.has(key), `${key} was asked for, and is nowhere`).toBe(true);
      expect(this.delivered.has(key), `${key} was asked for, and is there`).toBe(false);
    }
    if (!urgent) this.#judgeBackground(keys);
    if (this.#route === "none") return false;
    for (const key of keys) {
      this.#asked.delete(key);
      this.#asked.set(key, { at_ms: this.#now_ms, urgent });
    }
    if (!urgent) {
      const outstanding = [...this.#asked.values()].filter((asked) => !asked.urgent).length;
      expect(outstanding, "outstanding in the background").toBeLessThanOrEqual(this.#plan.window_pages);
      this.#pay(keys.length * PAGE_BYTES);
    }
    this.asked_runs.push(...runs.map((run) => ({ run, urgent })));
    const server = this.#route;
    this.#carry(() => this.#serve(server, runs));
    return true;
  }

  #judgeBackground(keys: readonly string[]): void {
    expect(this.#full, "asked in the background for a receiver that is full").toBe(false);
    for (const key of keys) expect(this.#asked.has(key), `${key} was asked for twice`).toBe(false);
    for (const key of this.#wanted) {
      expect(this.#asked.get(key)?.urgent, `${key} is wanted, and the background goes before it`).toBe(true);
    }
  }

  get #burst(): number {
    return Math.max(RUN_PAGES_MAX * PAGE_BYTES, this.#plan.bytes_per_s * 0.02);
  }

  /** What is within the rate over any stretch never empties a bucket that holds one burst. */
  #pay(bytes: number): void {
    const { bytes_per_s } = this.#plan;
    if (bytes_per_s === 0) return;
    const filled = this.#bucket + ((this.#now_ms - this.#bucket_ms) / 1000) * bytes_per_s;
    this.#bucket = Math.min(this.#burst, filled) - bytes;
    this.#bucket_ms = this.#now_ms;
    expect(this.#bucket, "rate of the background").toBeGreaterThan(-1);
  }

  #deliver(block: string, first: number, pages: readonly (Uint8Array | null)[]): void {
    expect(pages.length).toBeGreaterThan(0);
    for (const [i, bytes] of pages.entries()) {
      const key = `${block}:${first + i}`;
      expect(this.delivered.has(key), `${key} was delivered twice`).toBe(false);
      expect(bytes?.toString(), `content of ${key}`).toBe(this.#content(key)?.toString());
      this.delivered.set(key, this.delivered.size);
      this.#wanted.delete(key);
    }
  }

  // ---- whoever has the base, and the network

  #serve(server: "source" | "escrow", runs: readonly PageRun[]): void {
    for (const { block, first, count } of runs) {
      const from = server === "source" ? 0 : Math.max(0, (SIZES.get(block) ?? 0) - this.#copied);
      let pages: (Uint8Array | null)[] = [];
      let at = Math.max(first, from);
      for (let page = at; page < first + count; page += 1) {
        pages.push(this.#content(`${block}:${page}`));
        // An answer may come in pieces of any size.
        if (page + 1 < first + count && !this.#random.chance(0.05)) continue;
        const answer: Answer = { block, first: at, pages };
        this.#carry(() => this.#answered(answer));
        pages = [];
        at = page + 1;
      }
    }
  }

  #content(key: string): Buffer | null {
    return contentOf(key, this.#versions.get(key) ?? 0);
  }

  #answered(answer: Answer): void {
    for (const i of answer.pages.keys()) this.#asked.delete(`${answer.block}:${answer.first + i}`);
    this.#fetcher.answered(answer);
    this.#tickFetcher();
  }

  #carry(happen: () => void): void {
    const { loss, delay_ms, twice } = this.#network;
    for (let copies = this.#random.chance(twice) ? 2 : 1; copies > 0; copies -= 1) {
      if (this.#random.chance(loss)) continue;
      this.#order += 1;
      this.#events.push({ at_ms: this.#now_ms + this.#random.real() * delay_ms, order: this.#order, happen });
    }
  }
}

function placeOf(key: string): { readonly block: string; readonly page: number } {
  const at = key.lastIndexOf(":");
  return { block: key.slice(0, at), page: Number(key.slice(at + 1)) };
}

/** All that happens in a bad time, and then, in time, everything is there. */
function play(plan: Plan, broken?: Broken): World {
  const world = new World(plan, broken);
  for (const step of plan.steps) world.step(step);
  world.heal();
  const { window_pages, bytes_per_s } = plan;
  const retry_ms = Math.max(plan.retry_ms, plan.wanted_retry_ms);
  const rounds = 2 + Math.ceil(world.left / Math.min(window_pages, RUN_PAGES_MAX));
  const rate_ms = bytes_per_s === 0 ? 0 : ((world.left * PAGE_BYTES) / bytes_per_s) * 1000;
  // What is under way may have to be given up first, which takes longer where the link was slow before; and where there is a
  // rate, a whole run is waited for.
  const bound_ms =
    2 * Math.max(retry_ms, 2 * SERVED_AFTER_MS_MAX) + rounds * (GOOD_MS + 2 * TICK_MS) + 1.1 * rate_ms + 50;
  const end_ms = world.now_ms + bound_ms;
  while (!world.complete && world.now_ms < end_ms) world.tick();
  expect(world.left, `pages that are missing after ${bound_ms} ms`).toBe(0);
  return world;
}

const percent = fc.constantFrom(0, 0, 5, 30, 100);
const block = fc.constantFrom(...SIZES.keys(), "nowhere");
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("run" as const),
      ticks: fc.integer({ min: 1, max: 25 }),
      loss: percent,
      delay_ms: fc.constantFrom(0, 3, 20, 90),
      twice: percent,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("want" as const),
      block,
      first: fc.nat(155),
      count: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 1, max: 4 }) }, fc.constant(150)),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("route" as const),
      to: fc.constantFrom("source" as const, "escrow" as const, "none" as const),
    }),
  },
  fc.record({ do: fc.constant("restart" as const) }),
  fc.record({ do: fc.constant("jump" as const), ms: fc.integer({ min: 1, max: 400 }) }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant("copy" as const), pages: fc.nat(60) }) },
  fc.record({ do: fc.constant("discard" as const), block, first: fc.nat(155), count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ do: fc.constant("full" as const), on: fc.boolean() }),
  fc.record({ do: fc.constant("pause" as const), on: fc.boolean() }),
);
const plans: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(),
  order: fc.constantFrom("ascending" as const, "descending" as const),
  window_pages: fc.constantFrom(1, 3, 16, 64, 100, 128, 512),
  bytes_per_s: fc.constantFrom(0, 0, 2 ** 20, 5_000_000, 2 ** 26),
  retry_ms: fc.constantFrom(20, 50, 150),
  wanted_retry_ms: fc.constantFrom(20, 40, 150),
  steps: fc.array(steps, { maxLength: 25 }),
});

describe("a page fetcher on a bad network", () => {
  it("delivers every page once and right, keeps its bounds, and is done in time", () => {
    fc.assert(
      fc.property(plans, (plan) => void play(plan)),
      { numRuns: 1000 },
    );
  });
});

class Forgets extends PageMap {
  override add(block: string, page: number): boolean {
    const is_new = super.add(block, page);
    if (page % 7 === 6) this.remove(block, page);
    return is_new;
  }
}

class Swallows extends PageMap {
  override add(block: string, page: number): boolean {
    return super.add(block, page) && page % 40 !== 39;
  }
}

class TakesTwice extends PageMap {
  override add(block: string, page: number): boolean {
    super.add(block, page);
    return true;
  }
}

const BROKEN: readonly (readonly [string, Broken, RegExp])[] = [
  ["the map forgets", { map: (blocks) => new Forgets(blocks) }, /is there|delivered twice/],
  ["the map swallows a page", { map: (blocks) => new Swallows(blocks) }, /missing after/],
  ["the map takes a page twice", { map: (blocks) => new TakesTwice(blocks) }, /delivered twice/],
  [
    "the window is one page wider",
    { options: (options) => ({ ...options, window_pages: options.window_pages + 1 }) },
    /outstanding in the background/,
  ],
  [
    "the rate is a quarter higher",
    { options: (options) => ({ ...options, bytes_per_s: options.bytes_per_s * 1.25 }) },
    /rate of the background/,
  ],
  [
    "pages are put one place further",
    {
      options: (options) => ({
        ...options,
        deliver: (name, first, pages) => options.deliver(name, first, pages.length > 1 ? pages.toReversed() : pages),
      }),
    },
    /content of/,
  ],
  [
    "nothing is asked again",
    {
      options: (options) => ({
        ...options,
        retry_ms: Number.POSITIVE_INFINITY,
        wanted_retry_ms: Number.POSITIVE_INFINITY,
      }),
    },
    /goes before it|missing after/,
  ],
  ["a receiver that is full is not seen", { options: ({ full: _, ...options }) => options }, /that is full/],
  [
    "wanted pages are not asked for",
    { options: (options) => ({ ...options, ask: (runs, urgent) => urgent || options.ask(runs, urgent) }) },
    /goes before it|missing after/,
  ],
];

describe("the property bites", () => {
  it.each(BROKEN)("when %s", (_, broken, why) => {
    const property = fc.property(plans, (plan) => void play(plan, broken));
    const found = fc.check(property, { numRuns: 500, seed: 1, endOnFailure: true });
    expect(found.failed).toBe(true);
    expect(String(found.errorInstance)).toMatch(why);
    const [smallest] = found.counterexample ?? [];
    if (smallest !== undefined) play(smallest);
  });
});

describe("a page fetcher when nothing goes wrong", () => {
  const quiet = { seed: 1, window_pages: 64, bytes_per_s: 0, retry_ms: 150, wanted_retry_ms: 150, steps: [] };

  it("asks in one direction, every page once", () => {
    for (const order of ["ascending", "descending"] as const) {
      for (const window_pages of [1, 7, 64, 500]) {
        const { asked_runs } = play({ ...quiet, order, window_pages });
        expect(asked_runs.every(({ urgent }) => !urgent)).toBe(true);
        const asked = asked_runs.flatMap(({ run: { block: name, first, count } }) => {
          const pages = Array.from({ length: count }, (_, i) => `${name}:${first + i}`);
          return order === "ascending" ? pages : pages.reverse();
        });
        const all = [...SIZES].flatMap(([name, pages]) => {
          const up = Array.from({ length: pages }, (_, page) => `${name}:${page}`);
          return order === "ascending" ? up : up.reverse();
        });
        expect(asked).toEqual(all);
      }
    }
  });

  it("asks for what is wanted at once, once, before what is left, and for nothing that is there or nowhere", () => {
    const world = new World({ ...quiet, order: "ascending" });
    world.step({ do: "want", block: "ram0", first: 148, count: 5 });
    world.step({ do: "want", block: "ram0", first: 148, count: 5 });
    world.step({ do: "want", block: "nowhere", first: 0, count: 1 });
    expect(world.asked_runs.map(({ run, urgent }) => [run.first, urgent])).toEqual([
      [148, true],
      [149, true],
    ]);
    for (let i = 0; i < 5; i += 1) world.tick();
    expect(world.delivered.get("ram0:149")).toBeLessThan(2);
    world.step({ do: "want", block: "ram0", first: 149, count: 1 });
    expect(world.asked_runs.filter(({ urgent }) => urgent)).toHaveLength(2);
  });

  it("asks for all that is wanted before any background, however much it is", () => {
    const asked: [number, boolean][] = [];
    const fetcher = new PageFetcher({
      map: new PageMap([{ name: "ram0", bytes: 1000 * PAGE_BYTES }]),
      order: "ascending",
      window_pages: 64,
      bytes_per_s: 0,
      retry_ms: 100,
      ask: (runs, urgent) => asked.push([runs.length, urgent]) > 2,
      deliver: () => undefined,
    });
    // Nobody is there at first; then everything is asked for at once.
    fetcher.want({ block: "ram0", first: 0, count: 700 }, 0);
    fetcher.tick(2);
    expect(asked).toEqual([
      [256, true],
      [256, true],
    ]);
    fetcher.tick(4);
    expect(asked.slice(2)).toEqual([
      [256, true],
      [256, true],
      [188, true],
      [1, false],
    ]);
  });

  it("takes nothing of an answer that goes beyond the end of a block", () => {
    const map = new PageMap(BLOCKS);
    const got: number[] = [];
    const fetcher = new PageFetcher({
      map,
      order: "ascending",
      window_pages: 64,
      bytes_per_s: 0,
      retry_ms: 100,
      ask: () => true,
      deliver: (_, first) => got.push(first),
    });
    const answer = (name: string, first: number): void => fetcher.answered({ block: name, first, pages: [null, null] });
    for (const [name, first] of [
      ["ram0", 149],
      ["nowhere", 0],
      ["ram0", -1],
    ] as const) {
      expect(() => answer(name, first)).toThrow(RangeError);
    }
    expect(map.count).toBe(0);
    answer("ram0", 148);
    expect([map.count, got]).toEqual([2, [148]]);
  });
});

it("what goes before the background takes its part of the rate, and the background does not starve for it", () => {
  const map = new PageMap([{ name: "ram0", bytes: 4000 * PAGE_BYTES }]);
  let asked = 0;
  const fetcher = new PageFetcher({
    map,
    order: "ascending",
    window_pages: 4000,
    bytes_per_s: 1000 * PAGE_BYTES,
    retry_ms: 10_000,
    ask: (runs) => {
      asked += runs.reduce((sum, { count }) => sum + count, 0);
      return true;
    },
    deliver: () => undefined,
  });
  fetcher.tick(0);
  for (let at_ms = 2; at_ms <= 1000; at_ms += 2) {
    // As much again goes out beside it.
    fetcher.spent(PAGE_BYTES);
    fetcher.tick(at_ms);
  }
  expect(asked).toBeGreaterThan(350);
  expect(asked).toBeLessThan(600);
  // A guest that writes much faster than that: it does not wait for ever for memory that it does not touch.
  const busy = asked;
  for (let at_ms = 1002; at_ms <= 2000; at_ms += 2) {
    fetcher.spent(20 * PAGE_BYTES);
    fetcher.tick(at_ms);
  }
  expect(asked - busy).toBeGreaterThan(350);
  const before = asked;
  fetcher.spent(1e12);
  for (let at_ms = 2002; at_ms <= 2400; at_ms += 2) fetcher.tick(at_ms);
  expect(asked - before).toBeGreaterThan(150);
});

it("while something comes that goes before the background, two runs of it are under way, however small they are", () => {
  for (const every of [1, 3]) {
    const map = new PageMap([{ name: "ram0", bytes: 12_000 * PAGE_BYTES }]);
    // Every third page missing: runs of one page each.
    for (let page = 0; page < 12_000; page += 1) if (page % every !== 0) map.add("ram0", page);
    let under_way = 0;
    let most = 0;
    const waiting: PageRun[] = [];
    const fetcher = new PageFetcher({
      map,
      order: "descending",
      window_pages: 512,
      bytes_per_s: 0,
      retry_ms: 10_000,
      ask: (runs) => {
        waiting.push(...runs);
        under_way += runs.reduce((sum, { count }) => sum + count, 0);
        most = Math.max(most, under_way);
        return true;
      },
      deliver: () => undefined,
    });
    fetcher.yields = true;
    const answerOne = (): void => {
      const run = waiting.shift();
      if (run === undefined) return;
      under_way -= run.count;
      fetcher.answered({ ...run, pages: Array.from({ length: run.count }, () => null) });
    };
    let at_ms = 0;
    for (; at_ms < 200; at_ms += 2) {
      fetcher.tick(at_ms);
      expect(under_way).toBeGreaterThan(64);
      answerOne();
    }
    expect(most).toBeLessThanOrEqual(128);
    fetcher.yields = false;
    fetcher.tick(at_ms);
    expect(most).toBeGreaterThan(400);
    for (; waiting.length > 0; at_ms += 2) {
      answerOne();
      fetcher.tick(at_ms);
    }
    expect(map.complete).toBe(true);
  }
});

/** A server of which the test says what it answers, and when. */
function asking(mib: number): {
  readonly map: PageMap;
  readonly fetcher: PageFetcher;
  readonly queue: (PageRun & { readonly urgent: boolean })[];
  readonly asked: () => number;
  answer(run: PageRun): void;
} {
  const map = new PageMap([{ name: "ram0", bytes: mib * 2 ** 20 }]);
  const queue: (PageRun & { readonly urgent: boolean })[] = [];
  let asked = 0;
  const fetcher = new PageFetcher({
    map,
    order: "descending",
    window_pages: 512,
    bytes_per_s: 0,
    retry_ms: 250,
    wanted_retry_ms: 40,
    ask: (runs, urgent) => {
      if (!urgent) asked += runs.reduce((sum, { count }) => sum + count, 0);
      queue.push(...runs.map((run) => ({ ...run, urgent })));
      return true;
    },
    deliver: () => undefined,
  });
  const page = Buffer.alloc(PAGE_BYTES, 1);
  const answer = (run: PageRun): void => fetcher.answered({ ...run, pages: Array(run.count).fill(page) });
  return { map, fetcher, queue, asked: () => asked, answer };
}

it.each([0.5, 0.75, 1, 4, 16, 64])("over %d MiB/s, served in order, hardly a page is asked for twice", (mib_per_s) => {
  const { map, fetcher, queue, asked, answer } = asking(16);
  const ms_per_page = (PAGE_BYTES / (mib_per_s * 2 ** 20)) * 1000;
  let at_ms = 0;
  for (let worked_ms = 0; !map.complete && at_ms < 60_000; at_ms += TICK_MS) {
    fetcher.tick(at_ms);
    worked_ms += TICK_MS;
    for (let run = queue[0]; run !== undefined && run.count * ms_per_page <= worked_ms; run = queue[0]) {
      worked_ms -= run.count * ms_per_page;
      queue.shift();
      answer(run);
    }
    if (queue.length === 0) worked_ms = 0;
  }
  expect(map.complete).toBe(true);
  // Before the first answers nobody knows how slow it is.
  expect(asked()).toBeLessThanOrEqual(map.pages_total + 2 * 512);
});

it("pages that lack one by one are not asked for twice over a slow link either", () => {
  const { map, fetcher, queue, asked, answer } = asking(16);
  for (let page = 0; page < map.pages_total; page += 1) if (page % 2 === 0) map.add("ram0", page);
  const left = map.pages_total - map.count;
  let at_ms = 0;
  for (; !map.complete && at_ms < 60_000; at_ms += TICK_MS) {
    fetcher.tick(at_ms);
    // 4 MiB a second.
    for (let pages = 0; pages < 2; pages += 1) {
      const run = queue.shift();
      if (run !== undefined) answer(run);
    }
  }
  expect(map.complete).toBe(true);
  expect(asked()).toBeLessThanOrEqual(left + 512);
});

it("a run that was lost while later ones are answered is asked for again in time, however slowly they are", () => {
  const { fetcher, queue, answer } = asking(64);
  let at_ms = 0;
  fetcher.tick(at_ms);
  const lost = queue.shift() as PageRun;
  let again_ms: number | undefined;
  for (; at_ms < 2_000 && again_ms === undefined; at_ms += TICK_MS) {
    if (at_ms % 60 === 0) answer(queue.shift() as PageRun);
    fetcher.tick(at_ms);
    if (queue.some(({ first }) => first === lost.first)) again_ms = at_ms;
  }
  // The last of those that were asked for together is answered after 420 ms.
  expect(again_ms).toBeGreaterThanOrEqual(250);
  expect(again_ms).toBeLessThan(600);
});

it("a window that was lost is asked for again though what somebody waits for is answered, twice even", () => {
  const { fetcher, queue, answer } = asking(64);
  fetcher.tick(0);
  queue.splice(0);
  let again_ms: number | undefined;
  for (let at_ms = TICK_MS; at_ms < 2_000 && again_ms === undefined; at_ms += TICK_MS) {
    if (at_ms % 50 === 0) fetcher.want({ block: "ram0", first: at_ms / 50, count: 1 }, at_ms);
    fetcher.tick(at_ms);
    for (const run of queue.splice(0)) {
      if (!run.urgent) again_ms = at_ms;
      answer(run);
      answer(run);
    }
  }
  expect(again_ms).toBeLessThan(400);
});
