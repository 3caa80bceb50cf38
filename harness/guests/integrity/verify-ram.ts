import { open } from "node:fs/promises";
import { messageOf, UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import { type LedgerEntry, readLedger } from "./ledger-area.ts";
import type { Content, Region } from "./rule.ts";
import { contentOf, firstDifference, keyOf, lastSteps, pageOfStep, WORDS_PER_PAGE, wordOf } from "./rule.ts";
import { decodeStatusPage, STATUS_ADDRESS, type StatusPage } from "./status-page.ts";

/** Bad pages that are named; the rest are counted. */
export const BAD_PAGES_NAMED = 16;
const CHUNK_BYTES = 1 << 20;

/** A page that does not hold what (seed, step) says. */
export interface BadPage {
  readonly page: number;
  /** Physical address. */
  readonly address: number;
  readonly cpu: number;
  readonly expected_step: number;
  /** What the page holds instead, for people: "content of step 123", "all zeros". */
  readonly found: string;
  /** The first wrong word, what it should be and what it is. */
  readonly word: number;
  readonly expected: number;
  readonly found_word: number;
  readonly wrong_words: number;
}

/** The page of a step in progress: its first `words_new` words are new, the others old. Allowed, one per processor. */
export interface MixedPage {
  readonly page: number;
  readonly address: number;
  readonly cpu: number;
  readonly step: number;
  readonly words_new: number;
}

export interface RamVerdict {
  /** Every byte of the working memory and of the ledger is as it must be. Says nothing about `status.errors`. */
  readonly ok: boolean;
  readonly pages_checked: number;
  readonly bad_count: number;
  /** The first 16 of them. */
  readonly bad: readonly BadPage[];
  readonly mixed: readonly MixedPage[];
  /** Steps done, by processor. */
  readonly steps: readonly number[];
  readonly status: StatusPage;
  readonly ledger: readonly LedgerEntry[];
  readonly ledger_bad: readonly string[];
  /** Working memory checked per second, reading included. */
  readonly mib_per_s: number;
}

/** A RAM image: whole, or in chunks of any size in ascending order from physical address 0. */
export type RamImage = Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/**
 * Checks every byte of the guest's working memory in a RAM image against what (seed, step) says, whatever the instant
 * at which the virtual machine was stopped, and the ledger's entries against their checksums. Holds the first 4 MiB
 * and one chunk in memory, not the image.
 * @throws UserError when the image has no valid status page or ends too early.
 */
export async function verifyRam(ram: RamImage): Promise<RamVerdict> {
  const began_ms = performance.now();
  const low: Uint8Array[] = [];
  let low_bytes = 0;
  let checker: Checker | undefined;
  let low_needed = STATUS_ADDRESS + PAGE_BYTES;
  let status: StatusPage | undefined;
  for await (const chunk of ram instanceof Uint8Array ? [ram] : ram) {
    if (checker !== undefined) {
      if (checker.done) break;
      checker.take(chunk);
      continue;
    }
    low.push(chunk);
    low_bytes += chunk.length;
    if (low_bytes < low_needed) continue;
    const head = low.length === 1 ? chunk : Buffer.concat(low);
    low.splice(0, low.length, head);
    status ??= decodeStatusPage(head.subarray(STATUS_ADDRESS, STATUS_ADDRESS + PAGE_BYTES));
    low_needed = status.first_address;
    if (low_bytes < low_needed) continue;
    const ledger = readLedger(head, status);
    checker = new Checker(status, ledger.entries, ledger.bad);
    checker.take(head.subarray(status.first_address));
  }
  if (checker === undefined) {
    throw new UserError(`the RAM image ends after ${low_bytes} bytes, before the guest's working memory`);
  }
  return checker.verdict(performance.now() - began_ms);
}

/**
 * `verifyRam` on the file of a `memory-backend-file`. Reads by `pread`, so holes stay holes: a page that has not
 * arrived reads as zeros and is not touched (a mapping would fill it; see shared facts on userfaultfd and tmpfs).
 */
export async function verifyRamFile(path: string): Promise<RamVerdict> {
  return await verifyRam(fileChunks(path));
}

async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw new UserError(`cannot read the guest's RAM file ${path}: ${messageOf(error)}`);
  }
  try {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (let at = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      // The reader is done with a chunk when it asks for the next, but keeps the first ones: those are copied.
      yield at <= 8 * CHUNK_BYTES ? buffer.slice(0, bytesRead) : buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

interface CpuPlan {
  readonly region: Region;
  readonly key: number;
  readonly last: (page: number) => number;
  readonly in_progress?: { readonly page: number; readonly step: number };
}

/** Goes through the working memory page by page; fed with bytes from its first one on. */
class Checker {
  private readonly plans: readonly CpuPlan[];
  private readonly page_bytes = new Uint8Array(PAGE_BYTES);
  private readonly page_words = new Int32Array(this.page_bytes.buffer);
  private page_filled = 0;
  private next_page = 0;
  private plan_index = 0;
  private bad_count = 0;
  private readonly bad: BadPage[] = [];
  private readonly mixed: MixedPage[] = [];
  private readonly status: StatusPage;
  private readonly ledger: readonly LedgerEntry[];
  private readonly ledger_bad: readonly string[];

  constructor(status: StatusPage, ledger: readonly LedgerEntry[], ledger_bad: readonly string[]) {
    this.status = status;
    this.ledger = ledger;
    this.ledger_bad = ledger_bad;
    this.plans = status.cpus.map(({ region, step_begun, step_done }) => ({
      region,
      key: keyOf(region.seed, region.cpu),
      last: lastSteps(region, step_done),
      ...(step_begun !== step_done && { in_progress: { page: pageOfStep(region, step_begun), step: step_begun } }),
    }));
  }

  get done(): boolean {
    return this.next_page >= this.status.pages;
  }

  take(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.done) {
      if (this.page_filled === 0 && (bytes.byteOffset + at) % 4 === 0 && bytes.length - at >= PAGE_BYTES) {
        const pages = Math.min(Math.floor((bytes.length - at) / PAGE_BYTES), this.status.pages - this.next_page);
        const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, pages * WORDS_PER_PAGE);
        for (let i = 0; i < pages; i++) this.check(words, i * WORDS_PER_PAGE);
        at += pages * PAGE_BYTES;
        continue;
      }
      const part = bytes.subarray(at, at + PAGE_BYTES - this.page_filled);
      this.page_bytes.set(part, this.page_filled);
      this.page_filled += part.length;
      at += part.length;
      if (this.page_filled < PAGE_BYTES) return;
      this.page_filled = 0;
      this.check(this.page_words, 0);
    }
  }

  private check(words: Int32Array, base: number): void {
    const page = this.next_page++;
    let plan = this.plans[this.plan_index];
    while (plan !== undefined && page >= plan.region.first_page + plan.region.pages) {
      plan = this.plans[++this.plan_index];
    }
    if (plan === undefined) throw new Error(`page ${page} belongs to no processor`);
    const { fill } = this.status;
    const step = plan.last(page);
    const old = contentOf(plan.key, page, step, fill);
    let wrong = firstDifference(words, base, old);
    if (plan.in_progress?.page === page) {
      const next = contentOf(plan.key, page, plan.in_progress.step, fill);
      const end_of_new = firstDifference(words, base, next);
      const words_new = end_of_new === -1 ? WORDS_PER_PAGE : end_of_new;
      if (words_new > 0 || wrong === -1) wrong = firstDifference(words, base, old, words_new);
      if (wrong === -1) {
        const address = this.addressOf(page);
        this.mixed.push({ page, address, cpu: plan.region.cpu, step: plan.in_progress.step, words_new });
        return;
      }
    }
    if (wrong === -1) return;
    this.bad_count++;
    if (this.bad.length < BAD_PAGES_NAMED) this.bad.push(this.describe(words, base, page, plan, step, old, wrong));
  }

  private addressOf(page: number): number {
    return this.status.first_address + page * PAGE_BYTES;
  }

  private describe(
    words: Int32Array,
    base: number,
    page: number,
    plan: CpuPlan,
    step: number,
    expected: Content,
    word: number,
  ): BadPage {
    let wrong_words = 0;
    for (let i = 0; i < WORDS_PER_PAGE; i++) if ((words[base + i] ?? 0) >>> 0 !== wordOf(expected, i)) wrong_words++;
    return {
      page,
      address: this.addressOf(page),
      cpu: plan.region.cpu,
      expected_step: step,
      found: this.whatIs(words, base, page, expected, wrong_words),
      word,
      expected: wordOf(expected, word),
      found_word: (words[base + word] ?? 0) >>> 0,
      wrong_words,
    };
  }

  /** Says what a page holds, as far as that can be known. */
  private whatIs(words: Int32Array, base: number, page: number, expected: Content, wrong_words: number): string {
    let zeros = 0;
    while (zeros < WORDS_PER_PAGE && words[base + zeros] === 0) zeros++;
    if (zeros === WORDS_PER_PAGE) return "all zeros";
    const [step, says_page, key] = [0, 1, 2].map((i) => (words[base + i] ?? 0) >>> 0) as [number, number, number];
    const owner = this.plans.find((plan) => plan.key === key);
    if (owner !== undefined) {
      const claimed = contentOf(key, says_page, step, this.status.fill);
      const until = firstDifference(words, base, claimed);
      const name =
        `content of ${step === 0 ? "the initial fill" : `step ${step}`}` +
        (says_page === page ? "" : ` of page ${says_page}`);
      if (until === -1) return name;
      if (firstDifference(words, base, expected, until) === -1) return `${name} up to word ${until}, then as expected`;
    }
    return wrong_words <= 16
      ? `as expected but for ${wrong_words} ${wrong_words === 1 ? "word" : "words"}`
      : `unknown, ${wrong_words} words differ`;
  }

  verdict(took_ms: number): RamVerdict {
    if (!this.done) {
      throw new UserError(
        `the RAM image ends at page ${this.next_page} of the guest's working memory, which has ${this.status.pages}`,
      );
    }
    return {
      ok: this.bad_count === 0 && this.ledger_bad.length === 0,
      pages_checked: this.next_page,
      bad_count: this.bad_count,
      bad: this.bad,
      mixed: this.mixed,
      steps: this.status.cpus.map((cpu) => cpu.step_done),
      status: this.status,
      ledger: this.ledger,
      ledger_bad: this.ledger_bad,
      mib_per_s: (this.next_page * PAGE_BYTES) / 2 ** 20 / (Math.max(took_ms, 0.001) / 1000),
    };
  }
}
