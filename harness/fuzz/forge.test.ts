import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { judgeTexts, type RunTexts } from "../cli/judge.ts";
import { resealed } from "../cli/testing/reseal.ts";
import { fateOf, forgeriesOf, othersOf, RUN_FILES } from "./forge.ts";
import { Dice } from "./mutate.ts";

function textsIn(folder: string): RunTexts {
  const read = (name: string): string => readFileSync(join(import.meta.dirname, folder, name), "utf8");
  return { record: read("run.json"), evidence: read("evidence.json"), timeline: read("timeline.ndjson") };
}

/** An older sample as a run of today would be sealed. */
function sealedToday(texts: RunTexts): RunTexts {
  return resealed({ ...texts, evidence: JSON.stringify({ ...JSON.parse(texts.evidence), files: [] }) });
}

/**
 * Runs of real parts, without their logs: under stock QEMU, whose VM was lost; under txsync; under txsync with the Linux guest, a network card
 * and two disks.
 */
const RUNS = {
  stock: sealedToday(textsIn("../../reports/samples/v1/judged-lost")),
  txsync: textsIn("runs/txsync"),
  linux: textsIn("runs/linux"),
};

/** What can be changed alone without a word: when, and in whose lane, a result or the end was written down. Nothing is judged by it. */
const HARMLESS = /^(check\.result|run\.finished)\.(at_ms|lane|forged)$/;
/** Of each file of each run; all of them: `npm run forge -- <run folder>`. */
const TRIED = 24;

describe.each(Object.entries(RUNS))("of a run (%s)", (run, texts) => {
  const was = judgeTexts(run, texts);

  it("comes to what it came to, sealed anew or not", () => {
    expect(was).toMatchObject({ contradictions: [], judged: { verdict: was.record.verdict } });
    expect(judgeTexts(run, resealed(texts))).toMatchObject({ contradictions: [], judged: was.judged });
  });

  it.each(RUN_FILES)("%s: no field is another without a word", (file) => {
    const all = [...forgeriesOf(texts, file)];
    expect(all.length).toBeGreaterThan(150);
    const dice = new Dice(all.length);
    for (let nth = 0; nth < TRIED; nth += 1) {
      const { place, how, texts: forged } = dice.pick(all);
      const { found_by, verdict } = fateOf(forged(), was);
      if (found_by === "nothing") expect(place, how).toMatch(HARMLESS);
      else expect(["unknown", "refused"], `${place} ${how}`).toContain(verdict);
    }
  });

  it("says so of every change behind what it was judged by, but of times", () => {
    const behind = [...forgeriesOf(texts, "timeline")].filter(({ place }) => /^run\.finished/.test(place));
    expect(behind.length).toBeGreaterThan(20);
    for (const { place, how, texts: forged } of behind)
      if (fateOf(forged(), was).found_by === "nothing") expect(place, how).toMatch(HARMLESS);
  });
});

describe("a run whose VM was lost", () => {
  const texts = RUNS.stock;
  const was = judgeTexts("stock", texts);

  it("is lost, or nobody knows, whatever one field of its evidence says and every digest with it", () => {
    expect(was.judged.verdict).toBe("lost");
    const all = [...forgeriesOf(texts, "evidence"), ...forgeriesOf(texts, "record")];
    const dice = new Dice(2);
    for (let nth = 0; nth < 2 * TRIED; nth += 1) {
      const { place, how, texts: forged } = dice.pick(all);
      expect(fateOf(resealed(forged()), was).verdict, `${place} ${how}`).not.toBe("intact");
    }
  });
});

describe("what a field is made", () => {
  it("is gone, of another type, another number, host or verdict, and never what it was", () => {
    const hows = (value: unknown): readonly string[] => othersOf(value).map(([how]) => how);
    expect(hows(3)).toEqual(["gone", "a text", "one more", "0", "less than 0"]);
    expect(hows(0)).toEqual(["gone", "a text", "one more", "less than 0"]);
    expect(hows("target")).toContain("another host");
    expect(hows("link:source-target")).toContain("another host");
    expect(hows("lost")).toContain("intact");
    for (const value of [0, 1.5, true, "source", "intact", [], [1], {}, null])
      for (const [how, other] of othersOf(value)) expect(other, how).not.toEqual(value);
  });
});
