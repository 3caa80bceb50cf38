import { describe, expect, it } from "vitest";
import { ALL_RULES, type Rules } from "../core/index.ts";
import { RECORD_LOST, TARGET_QEMU_DIES } from "../sim/directed.ts";
import { MUTANTS, without } from "../sim/mutants.ts";
import { playOne } from "../sim/play.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { Known } from "./known.ts";
import { begin, after as goOn, type Move, ordinary, others } from "./moves.ts";
import { NOT_HERE, searchable, searchWithout } from "./rules.ts";
import { Search } from "./search.ts";
import { tell } from "./tell.ts";
import { fromSchedule, toSchedule } from "./translate.ts";
import { SETUPS, type Setup } from "./world.ts";

/** A few seconds' worth; `npm run search` goes on. */
const STATES = 15_000;
const [SETUP] = SETUPS as readonly [Setup, ...Setup[]];

function broken(rule: keyof Rules): Setup {
  return { ...SETUP, rules: without(rule) };
}

describe("the search of the core", () => {
  it.each(SETUPS)("finds nothing with one move out of order: $name", (setup) => {
    const found = new Search(setup, { depth: 1, faults: 1, states_max: STATES }).run();
    console.log(JSON.stringify({ ...found, counterexample: found.counterexample?.what ?? null }));
    const { counterexample } = found;
    expect(counterexample === null ? [] : tell(setup, counterexample.moves).slice(-40)).toEqual([]);
    expect(found.states).toBeGreaterThan(STATES / 3);
    expect(found.ends).toBeGreaterThan(50);
  });

  it("makes of the last moves those of its part, and nothing but faults where it is told so", () => {
    const bounds = { depth: 1, faults: 1, states_max: 1_000_000, only_faults: true };
    const parts = [0, 1].map((number) => new Search(SETUP, { ...bounds, part: { number, of: 40 } }).run());
    const states = parts.map(({ byDepth }) => byDepth[1] ?? 0);
    for (const found of parts) expect(found).toMatchObject({ complete: 1, counterexample: null, stopped: null });
    expect(parts[0]?.byDepth[0]).toBe(parts[1]?.byDepth[0]);
    for (const some of states) {
      expect(some).toBeGreaterThan(100);
      expect(some).toBeLessThan(STATES);
    }
    expect(states[0]).not.toBe(states[1]);
  });

  it("goes the same ways each time", () => {
    const bounds = { depth: 1, faults: 1, states_max: 1_500 };
    expect(new Search(SETUP, bounds).run()).toEqual(new Search(SETUP, bounds).run());
  });

  it("comes to an end at which the VM is owned by its target, when nothing is out of order", () => {
    const found = new Search({ ...SETUP, drains: true }, { depth: 0, faults: 0, states_max: 1_000 }).run();
    expect(found).toMatchObject({ complete: 0, ends: 1, counterexample: null, stopped: null });
    expect(found.states).toBeLessThan(300);
  });

  it("knows a rule that it searches without for every rule there is, or why it cannot", () => {
    const known = [...searchable().flatMap(({ rule }) => rule ?? []), ...Object.keys(NOT_HERE)];
    expect([...new Set(known)].sort()).toEqual(Object.keys(ALL_RULES).sort());
  });

  /** Found with nothing or one thing out of order, so in a moment; `npm run search -- --rules` looks for all. */
  it.each(["gateWaitsForCommit", "runAfterVote", "restartOpensGeneration", "sinceIsStored", "letOutAgain"] as const)(
    "finds it when a rule is off: %s",
    (rule) => {
      const mutant = MUTANTS.find((one) => one.rule === rule);
      if (mutant === undefined) throw new Error("there is no such mutant");
      const { counterexample, states } = searchWithout(mutant, 1, 20_000);
      console.log(`${rule}: ${states} states, ${counterexample?.moves.length} moves: ${counterexample?.what}`);
      expect(counterexample).not.toBeNull();
      // The way says what happened, and leads there again.
      const setup = counterexample?.setup ?? SETUP;
      const lines = tell(setup, counterexample?.moves ?? []);
      expect(lines.at(-1)).toContain(counterexample?.what);
    },
  );
});

describe("a way of the search", () => {
  it("is a schedule for the simulator, which finds the same there", () => {
    const mutant = MUTANTS.find(({ rule }) => rule === "runAfterVote");
    if (mutant === undefined) throw new Error("there is no such mutant");
    const { counterexample } = searchWithout(mutant, 1, 20_000);
    if (counterexample === null) throw new Error("nothing was found");
    const { schedule } = toSchedule(counterexample.setup, counterexample.moves);
    const rules = without("runAfterVote");
    const found = Array.from({ length: 60 }, (_, seed) => playOne({ ...schedule, seed }, { rules }).violation);
    expect(found.some((violation) => violation !== null)).toBe(true);
    // With the rule in force it does no harm.
    for (let seed = 0; seed < 60; seed += 1) expect(playOne({ ...schedule, seed }).violation).toBeNull();
  });

  it.each([
    { rule: "runAfterVote" as const, directed: TARGET_QEMU_DIES },
    { rule: "protectionWhenCommitted" as const, directed: RECORD_LOST },
  ])("is made of a schedule of the simulator, and breaks the same rule: $rule", ({ rule, directed }) => {
    const { moves, lost } = fromSchedule(broken(rule), directed);
    expect(lost).toEqual([]);
    expect(tell(broken(rule), moves).at(-1)).toMatch(/invariant|txsync/);
    expect(tell(SETUP, fromSchedule(SETUP, directed).moves).at(-1)).not.toMatch(/invariant|txsync/);
  });

  it("says what of a schedule it has no word for", () => {
    const { lost } = fromSchedule(SETUP, {
      faults: [{ kind: "busy", role: "source", for_ms: 20, late_ms: 10, when: { at_ms: 200 } }],
    });
    expect(lost).toEqual(["busy"]);
  });
});

describe("a world that is searched", () => {
  it("is never changed by what happens after it", () => {
    let world = begin(SETUP);
    for (let i = 0; i < 40; i += 1) {
      const print = fingerprintOf(world);
      for (const move of others(world, true)) {
        try {
          goOn(world, move);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(Error);
        }
        expect(fingerprintOf(world)).toEqual(print);
      }
      const move: Move | null = ordinary(world);
      if (move === null) break;
      world = goOn(world, move);
    }
  });
});

describe("what is known", () => {
  it("gives the way to each state, however many there are", () => {
    const known = new Known();
    const ids = Array.from({ length: 20_000 }, (_, i) =>
      known.add({ low: i, high: i * 7 }, i === 0 ? null : i - 1, i % 50),
    );
    expect(ids).toEqual(Array.from({ length: 20_000 }, (_, i) => i));
    expect(known.add({ low: 5, high: 35 }, 3, 1)).toBe(~5);
    expect(known.wayTo(3)).toEqual([0, 1, 2, 3]);
    expect(known.size).toBe(20_000);
  });
});
