import { describe, expect, it } from "vitest";
import { TransactionLog } from "./log.ts";
import { RecordViolation, type Rule } from "./record.ts";
import { scan } from "./scan.ts";
import { LossyFiles } from "./testing/lossy-files.ts";
import { BLOCKS, type Fills, logFileOf, modelOf, type RecordSketch, recordOf, store } from "./testing/sketch.ts";

const fills = (...pages: [string, number][]): Fills => new Map(pages);
const ONE = fills(["0:1", 1], ["0:2", 2], ["1:3", 3]);
/** What the guest wrote in the second epoch, and then all that it ever wrote. */
const SECOND = fills(["0:2", 22], ["0:5", 0], ["1:3", 33]);
const TWO = new Map([...ONE, ...SECOND]);
const FIRST: RecordSketch = { n: 1, since: "base", mark: 5, acked: 2, generation: 3, pages: ONE };
const NEXT: RecordSketch = { n: 2, since: 1, mark: 6, acked: 3, generation: 3, pages: SECOND, all: TWO };

const without = (pages: Fills, ...names: string[]): Fills =>
  new Map([...pages].filter(([name]) => !names.includes(name)));

/** Mistakes as an agent that has lost count would make them, and the rule that each breaks. */
const MISTAKES: readonly [string, Rule, RecordSketch][] = [
  ["a page left out", "digest", { ...NEXT, pages: without(SECOND, "0:2") }],
  ["a page of the next epoch mixed in", "digest", { ...NEXT, pages: new Map([...SECOND, ["0:2", 99]]) }],
  ["a page of the next epoch added", "digest", { ...NEXT, pages: new Map([...SECOND, ["0:9", 9]]) }],
  ["a stale page", "digest", { ...NEXT, pages: new Map([...SECOND, ["0:2", 2]]) }],
  ["a lost zero page", "digest", { ...NEXT, pages: without(SECOND, "0:5") }],
  ["a zero page for one that is none", "digest", { ...NEXT, pages: new Map([...SECOND, ["0:2", 0]]) }],
  ["a wrong page of a small block", "digest", { ...NEXT, pages: new Map([...SECOND, ["1:3", 3]]) }],
  ["a page in another place", "digest", { ...NEXT, pages: new Map([...without(SECOND, "0:2"), ["0:3", 22]]) }],
  ["a page in another block", "digest", { ...NEXT, pages: new Map([...without(SECOND, "1:3"), ["0:3", 33]]) }],
  ["a digest of an earlier set", "digest", { ...NEXT, all: new Map([...ONE, ["0:5", 0]]) }],
  ["a page too few since the base", "lacks-pages", { ...NEXT, since: "base", pages: without(TWO, "0:1") }],
  ["only the last epoch, since the base", "lacks-pages", { ...NEXT, since: "base", pages: SECOND }],
  ["a stale page since the base", "digest", { ...NEXT, since: "base", pages: new Map([...TWO, ["0:2", 2]]) }],
  ["the same transaction twice", "number", { ...NEXT, n: 1 }],
  ["a gap", "since", { ...NEXT, n: 3, since: 2 }],
  ["an order that is not theirs", "since", { ...NEXT, n: 2, since: 0 }],
  ["a mark that goes back", "marks", { ...NEXT, mark: 4 }],
  ["more arrived than was put out", "acked", { ...NEXT, acked: 7 }],
  ["an older generation", "generation", { ...NEXT, generation: 2 }],
  [
    "a block of another size",
    "blocks",
    { ...NEXT, blocks: [{ ...BLOCKS[0], bytes: 32 * 4096 }, BLOCKS[1]] as typeof BLOCKS },
  ],
  ["a number that is none", "number", { ...FIRST, n: 0 }],
];

async function logWithOne(files = new LossyFiles()): Promise<TransactionLog> {
  const log = await TransactionLog.open({ files, sync: "memory" });
  await store(log, recordOf(FIRST));
  return log;
}

describe("a record that must not be believed", () => {
  it.each(MISTAKES)("is refused at commit: %s", async (_, rule, mistake) => {
    const files = new LossyFiles();
    const log = await logWithOne(files);
    const [before, { bytes }] = [await modelOf(log), log];
    const error = await store(log, recordOf(mistake)).then(
      () => null,
      (error: unknown) => error,
    );
    expect(error).toBeInstanceOf(RecordViolation);
    expect((error as RecordViolation).rule).toBe(rule);
    expect(log.bytes).toBe(bytes);
    expect(await modelOf(log)).toEqual(before);
    // It does not come back, and the right one is taken.
    const again = await TransactionLog.open({ files, sync: "memory" });
    expect([again.state?.last, again.torn]).toEqual([1, null]);
    await store(again, recordOf(NEXT));
    await store(log, recordOf(NEXT));
    expect((await modelOf(log)).pages).toEqual(TWO);
  });

  it.each(MISTAKES)("is found in a log that has it: %s", async (_, rule, mistake) => {
    const files = new LossyFiles();
    files.put("txlog-00000000", logFileOf([recordOf(FIRST), recordOf(mistake)]));
    const found: (Rule | null)[] = [];
    const looking = await files.open("txlog-00000000", "read");
    const { torn } = await scan(looking, { onRecord: (_entry, violation) => found.push(violation?.rule ?? null) });
    expect(torn).toBeNull();
    expect(found).toEqual([null, rule]);
    // Nor does anything rest on it.
    const log = await TransactionLog.open({ files, sync: "memory" });
    expect(log.state?.last).toBe(1);
    expect(log.torn?.why).toMatch(/transaction record/);
  });

  it("is not the one that is right, as an epoch or since the base", async () => {
    for (const right of [NEXT, { ...NEXT, since: "base" as const, pages: TWO }, { ...NEXT, n: 7 }]) {
      const log = await logWithOne();
      await store(log, recordOf(right));
      expect((await modelOf(log)).pages).toEqual(TWO);
      await log.compact();
      expect((await modelOf(log)).pages).toEqual(TWO);
    }
  });

  it("is the first one that does not begin at the base", async () => {
    const log = await TransactionLog.open({ files: new LossyFiles(), sync: "memory" });
    await expect(store(log, recordOf({ ...NEXT, all: SECOND }))).rejects.toThrow(/the log is empty/);
  });
});
