import { crc32 } from "node:zlib";
import { PAGE_BYTES } from "../../base/page.ts";
import { type LedgerEntry, ledgerCheck } from "./ledger-area.ts";
import { contentOf, type Fill, keyOf, lastSteps, pageOfStep, writeContent } from "./rule.ts";
import { STATUS_ADDRESS, STATUS_VERSION } from "./status-page.ts";

const LEDGER_ADDRESS = 0x200000;
const FIRST_ADDRESS = 0x400000;

/** What a made-up guest has done. */
export interface RamImageOptions {
  readonly seed: number;
  /** Pages of each processor. */
  readonly regions: readonly number[];
  /** Pages of each that steps go over; absent: all. */
  readonly working?: readonly number[];
  /** Steps done, by processor. */
  readonly steps: readonly number[];
  readonly fill: Fill;
  /** Words of the next step's page that a processor has written, if it is in the middle of it; a number: processor 0. */
  readonly words_new?: number | readonly (number | undefined)[];
  readonly ledger?: readonly Omit<LedgerEntry, "index">[];
}

/** Makes a RAM image as the guest would have left it: sample data for tests of whoever reads one. */
export function makeRamImage(options: RamImageOptions): Uint8Array {
  const pages = options.regions.reduce((sum, count) => sum + count, 0);
  const ram = new Uint8Array(FIRST_ADDRESS + pages * PAGE_BYTES);
  const view = new DataView(ram.buffer);
  const put = (at: number, word: number): void => view.setUint32(STATUS_ADDRESS + at, word, true);
  ram.set(Buffer.from("FERRYINT", "latin1"), STATUS_ADDRESS);
  const fill = { none: 0, head: 1, full: 2 }[options.fill];
  const constants = [STATUS_VERSION, options.seed, options.regions.length, pages, FIRST_ADDRESS, 1000, fill, 1, 0x1234];
  constants.forEach((word, i) => {
    put(0x08 + 4 * i, word);
  });
  const working = options.regions.map((count, cpu) => options.working?.[cpu] ?? count);
  put(0x2c, LEDGER_ADDRESS);
  put(0x30, 65536);
  put(
    0x34,
    working.reduce((sum, count) => sum + count, 0),
  );
  put(0x3c, crc32(ram.subarray(STATUS_ADDRESS, STATUS_ADDRESS + 0x3c)));
  put(0x40, 1);
  put(0x64, options.ledger?.length ?? 0);
  options.ledger?.forEach(({ value, client, client_seq }, index) => {
    [value, client, client_seq, ledgerCheck(index, value, client, client_seq)].forEach((word, i) => {
      view.setUint32(LEDGER_ADDRESS + index * 16 + 4 * i, word, true);
    });
  });
  const words = new Int32Array(ram.buffer, FIRST_ADDRESS);
  const words_new = typeof options.words_new === "object" ? options.words_new : [options.words_new];
  let first_page = 0;
  options.regions.forEach((count, cpu) => {
    const working_pages = working[cpu] ?? count;
    const region = { seed: options.seed, cpu, first_page, pages: count, working_pages };
    const done = options.steps[cpu] ?? 0;
    const key = keyOf(options.seed, cpu);
    const last = lastSteps(region, done);
    for (let page = first_page; page < first_page + count; page++) {
      writeContent(words, page * 1024, contentOf(key, page, last(page), options.fill));
    }
    const torn = words_new[cpu];
    if (torn !== undefined) {
      const page = pageOfStep(region, done + 1);
      writeContent(words, page * 1024, contentOf(key, page, done + 1, options.fill), torn);
    }
    [first_page, count, torn === undefined ? done : done + 1, done, working_pages].forEach((word, i) => {
      put(0x100 + 0x40 * cpu + 4 * i, word);
    });
    first_page += count;
  });
  return ram;
}
