import { Dice } from "./mutate.ts";
import type { Answer, FuzzTarget } from "./target.ts";

/** Inputs that showed something new and are broken further. */
const CORPUS_MAX = 400;
/** Kinds of answers that are told apart. */
const KINDS_MAX = 5_000;

export interface Fuzzed {
  readonly target: string;
  readonly cases: number;
  readonly taken: number;
  /** Different things that were said, numbers and names left out. */
  readonly kinds: number;
  /** The input at which the reader did what it must not, and what that was. */
  readonly bug: { readonly number: number; readonly input: string; readonly what: string } | null;
}

export interface FuzzOptions {
  readonly seed: number;
  readonly cases: number;
  /** Stop when so much time has passed, looked at every 256 inputs. */
  readonly elapsed_ms_max?: number;
  /** Before an input is fed, so that one that never comes back is known. */
  readonly onCase?: (number: number, show: () => string) => void;
}

/**
 * Feeds a reader with inputs that are nearly valid. An input that makes it say something that it has not said yet is kept
 * and broken further, so that it is led deeper than a single break does.
 */
export async function fuzz<Input>(target: FuzzTarget<Input>, options: FuzzOptions): Promise<Fuzzed> {
  const { seed, cases, elapsed_ms_max = Number.POSITIVE_INFINITY, onCase } = options;
  const dice = new Dice(seed);
  const corpus = [...target.seeds];
  const kinds = new Set<string>();
  const began_ms = performance.now();
  let taken = 0;
  let number = 0;
  for (; number < cases; number += 1) {
    if (number % 256 === 0 && performance.now() - began_ms > elapsed_ms_max) break;
    // The seeds themselves come first: they are valid.
    const input = target.seeds[number] ?? target.mutate(dice, dice.pick(corpus), target.seeds);
    onCase?.(number, () => target.show(input));
    let answer: Answer;
    try {
      const fed = target.feed(input);
      answer = fed instanceof Promise ? await fed : fed;
      if (number < target.seeds.length && !answer.took) throw new Error(`a valid input was refused: ${answer.said}`);
    } catch (thrown) {
      const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
      return {
        target: target.name,
        cases: number,
        taken,
        kinds: kinds.size,
        bug: { number, input: target.show(input), what },
      };
    }
    if (answer.took) taken += 1;
    const kind = answer.took ? "" : kindOf(answer.said);
    if (kinds.has(kind) || kinds.size >= KINDS_MAX) continue;
    kinds.add(kind);
    if (corpus.length < CORPUS_MAX) corpus.push(input);
  }
  return { target: target.name, cases: number, taken, kinds: kinds.size, bug: null };
}

/** What is said, without what is particular to the input. */
function kindOf(said: string): string {
  return said.replaceAll(/[0-9]+|"[^"]*"/g, "#").slice(0, 80);
}
