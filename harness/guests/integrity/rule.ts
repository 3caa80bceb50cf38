import { PAGE_BYTES } from "../../base/page.ts";
/**
 * The integrity guest's rule, written a second time (the first is fixtures/guests/integrity/rule.h): which page a step
 * rewrites, with what, and which step wrote a page last. Whoever knows (seed, step) can recompute every byte.
 */

export const WORDS_PER_PAGE = PAGE_BYTES / 4;
/** Words 0..2 of a page say what it is: step, page, key. The stream follows. */
export const HEADER_WORDS = 3;

/** Content of a page that no step has written yet: zeros, the header alone, or a whole page of step 0. */
export type Fill = "none" | "head" | "full";

/** One virtual processor's share of the memory. Pages are counted from the first page of the whole. */
export interface Region {
  readonly seed: number;
  readonly cpu: number;
  readonly first_page: number;
  readonly pages: number;
  /** So many of them, the first ones, are its working set: steps go over these, the others stay as they were filled. */
  readonly working_pages: number;
}

/** One round rewrites every page of a working set once: the k-th is (a * k + b) mod its pages. */
export interface Round {
  readonly a: number;
  readonly b: number;
  readonly a_inverse: number;
}

/** MurmurHash3's 32-bit finalizer; unsigned in, unsigned out. */
export function mix(value: number): number {
  let h = value;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Key of a processor's pages: word 2 of each of them. */
export function keyOf(seed: number, cpu: number): number {
  return (mix((seed + Math.imul(0x9e3779b9, cpu + 1)) >>> 0) | 1) >>> 0;
}

function gcd(left: number, right: number): number {
  let [a, b] = [left, right];
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** Inverse of `a` modulo `n` by the extended Euclidean algorithm; they have no common divisor. 0 for n = 1. */
function inverseOf(a: number, n: number): number {
  let [t, next_t, r, next_r] = [0, 1, n, a];
  while (next_r !== 0) {
    const quotient = Math.floor(r / next_r);
    [t, next_t] = [next_t, t - quotient * next_t];
    [r, next_r] = [next_r, r - quotient * next_r];
  }
  if (n === 1) return 0;
  return t < 0 ? t + n : t;
}

/** The order of a round, the first being 0, over `pages` pages (1 to 2^20; products stay exact in a double). */
export function roundOf(key: number, round: number, pages: number): Round {
  const hash = mix((key ^ mix((Math.imul(round, 0x27d4eb2f) + 0x165667b1) >>> 0)) >>> 0);
  let a = hash % pages;
  while (gcd(a, pages) !== 1) a = a + 1 === pages ? 0 : a + 1;
  return { a, b: mix((hash ^ 0x2545f491) >>> 0) % pages, a_inverse: inverseOf(a, pages) };
}

/** The page (counted from the region's first) that comes k-th in a round over `pages` pages. */
export function pageAt(round: Round, k: number, pages: number): number {
  return (round.a * k + round.b) % pages;
}

/** The place k of a page in a round: the inverse of `pageAt`. */
export function placeOf(round: Round, page: number, pages: number): number {
  return (round.a_inverse * ((page - round.b + pages) % pages)) % pages;
}

/** f(seed, cpu, step): the page that step `step` (from 1) rewrites, counted from the first page of the whole. */
export function pageOfStep(region: Region, step: number): number {
  const { seed, cpu, first_page, working_pages } = region;
  const order = roundOf(keyOf(seed, cpu), Math.floor((step - 1) / working_pages), working_pages);
  return first_page + pageAt(order, (step - 1) % working_pages, working_pages);
}

/**
 * Which step wrote each page of the region last, when `step_done` steps are done; 0 is "none yet". The function
 * returned takes the page as counted from the first page of the whole, and costs two multiplications.
 */
export function lastSteps(region: Region, step_done: number): (page: number) => number {
  if (step_done === 0) return () => 0;
  const { working_pages, first_page } = region;
  const key = keyOf(region.seed, region.cpu);
  const round = Math.floor((step_done - 1) / working_pages);
  const start = round * working_pages;
  const now = roundOf(key, round, working_pages);
  const before = round > 0 ? roundOf(key, round - 1, working_pages) : undefined;
  return (page) => {
    const in_region = page - first_page;
    if (in_region >= working_pages) return 0;
    const step = start + placeOf(now, in_region, working_pages) + 1;
    if (step <= step_done) return step;
    return before === undefined ? 0 : start - working_pages + placeOf(before, in_region, working_pages) + 1;
  };
}

/** Whether a step leaves a page of zeros, as one of 16 does: what becomes zeros is kept and restored in ways of its own. */
export function isZero(key: number, step: number): boolean {
  return step !== 0 && (mix((key ^ Math.imul(step, 0x9e3779b1)) >>> 0) & 15) === 0;
}

/** What a page holds: the words after the header are `start + i * delta`, i the word's index in the page. */
export interface Content {
  readonly header: readonly [number, number, number];
  readonly start: number;
  readonly delta: number;
}

/** g(seed, cpu, page, step): the content of a page after the step that wrote it last; step 0 is the initial fill. */
export function contentOf(key: number, page: number, step: number, fill: Fill): Content {
  if ((step === 0 && fill === "none") || isZero(key, step)) return { header: [0, 0, 0], start: 0, delta: 0 };
  if (step === 0 && fill === "head") return { header: [0, page, key], start: 0, delta: 0 };
  const inner = mix((key ^ Math.imul(page + 1, 0x85ebca77)) >>> 0);
  const start = mix((inner + Math.imul(step, 0xc2b2ae3d)) >>> 0);
  return { header: [step, page, key], start, delta: (mix((start ^ 0x27d4eb2f) >>> 0) | 1) >>> 0 };
}

/** Word `i` of a content, unsigned. */
export function wordOf(content: Content, i: number): number {
  const header = content.header[i];
  if (header !== undefined) return header >>> 0;
  return (content.start + Math.imul(i, content.delta)) >>> 0;
}

/**
 * First word from `from` up to (not including) `to` at which the page that begins at `words[base]` is not `content`;
 * -1 if there is none. This is the loop in which verification spends its time.
 */
export function firstDifference(
  words: Int32Array,
  base: number,
  content: Content,
  from = 0,
  to = WORDS_PER_PAGE,
): number {
  let i = from;
  for (; i < HEADER_WORDS && i < to; i++) if (words[base + i] !== ((content.header[i] ?? 0) | 0)) return i;
  const delta = content.delta | 0;
  let expected = (content.start + Math.imul(i, delta)) | 0;
  for (; i < to; i++) {
    if (words[base + i] !== expected) return i;
    expected = (expected + delta) | 0;
  }
  return -1;
}

/** Writes a content into a page, as the guest would. `count` words from the start; for tests and tools. */
export function writeContent(words: Int32Array, base: number, content: Content, count = WORDS_PER_PAGE): void {
  for (let i = 0; i < count; i++) words[base + i] = wordOf(content, i) | 0;
}
