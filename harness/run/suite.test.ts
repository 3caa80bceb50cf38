import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { noFault } from "../../scenarios/controls/no-fault.ts";
import { makeRecord } from "./make-record.ts";
import type { RunEnvironment, RunRequest } from "./request.ts";
import { runSuite } from "./suite.ts";

const requestOf = (seed: number): RunRequest => ({
  scenario: noFault,
  recovery: "stock",
  guest: "integrity",
  accel: "tcg",
  accel_why: "",
  seed,
  memory_bytes: 0,
  keep: false,
});
// Only the signal is looked at by the suite itself.
const environmentWith = (signal: AbortSignal): RunEnvironment => ({ signal }) as RunEnvironment;

/** A suite of runs that take as many turns of the event loop as they are told. */
async function play(
  turns: readonly number[],
  jobs: number,
  abort_after = Number.POSITIVE_INFINITY,
  enough_after = Number.POSITIVE_INFINITY,
) {
  const abort = new AbortController();
  const begun: number[] = [];
  const told: number[] = [];
  let going = 0;
  let most = 0;
  const finished = await runSuite(
    environmentWith(abort.signal),
    turns.map((_, seed) => requestOf(seed)),
    jobs,
    ({ record }, { seed }) => {
      expect(record.seed).toBe(seed);
      told.push(seed);
      if (told.length >= abort_after) abort.abort();
    },
    {
      enough: () => told.length >= enough_after,
      play: async (_, { seed }) => {
        begun.push(seed);
        going += 1;
        most = Math.max(most, going);
        for (let turn = 0; turn < (turns[seed] ?? 0); turn++) await Promise.resolve();
        going -= 1;
        return { record: makeRecord({ seed }), folder: "", untidy: [] };
      },
    },
  );
  return { begun, told, most, finished: finished.map(({ record }) => record.seed) };
}

const turns = fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 12 });
const jobs = fc.integer({ min: 1, max: 4 });

describe("suite", () => {
  it("runs each request once, begun in their order, and never more at a time than asked for", async () => {
    await fc.assert(
      fc.asyncProperty(turns, jobs, async (all, at_a_time) => {
        const { begun, told, most, finished } = await play(all, at_a_time);
        expect(begun).toEqual(all.map((_, seed) => seed));
        expect([...finished].sort((a, b) => a - b)).toEqual(begun);
        expect(told).toEqual(finished);
        expect(most).toBeLessThanOrEqual(at_a_time);
        expect(most).toBe(Math.min(at_a_time, all.length));
      }),
    );
  });

  it("begins no more once it is interrupted, and still reports what was under way", async () => {
    await fc.assert(
      fc.asyncProperty(turns, jobs, fc.integer({ min: 1, max: 12 }), async (all, at_a_time, abort_after) => {
        const { begun, finished } = await play(all, at_a_time, abort_after);
        expect(begun.length).toBeLessThanOrEqual(Math.min(all.length, abort_after + at_a_time));
        expect([...finished].sort((a, b) => a - b)).toEqual(begun);
      }),
    );
  });

  it("begins no more once there was enough", async () => {
    await fc.assert(
      fc.asyncProperty(turns, jobs, fc.integer({ min: 1, max: 12 }), async (all, at_a_time, enough_after) => {
        const { begun, finished } = await play(all, at_a_time, undefined, enough_after);
        expect(begun.length).toBeLessThanOrEqual(Math.min(all.length, enough_after + at_a_time - 1));
        expect([...finished].sort((a, b) => a - b)).toEqual(begun);
      }),
    );
  });
});
