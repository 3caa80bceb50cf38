import { InvalidArgumentError } from "commander";
import type { Limits } from "./limits.ts";

/** A whole number of at least `least` and, where it is given, at most `most`, for commander. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`A whole number ${range} is needed.`);
    }
    return value;
  };
}

/** A whole number within limits, for commander. */
export function within({ least, most }: Limits): (text: string) => number {
  return wholeNumber(least, most);
}

/** Whole numbers within limits with commas between, each once, for commander. */
export function listWithin(limits: Limits): (text: string) => readonly number[] {
  const read = within(limits);
  return (text) => {
    try {
      return [...new Set(text.split(",").map(read))];
    } catch {
      throw new InvalidArgumentError(`Whole numbers from ${rangeOf(limits)} are needed, with commas between.`);
    }
  };
}

/** Limits in the words of an option's help. */
export function rangeOf({ least, most }: Limits): string {
  return `${least} to ${most}`;
}

/** One of some words, for commander. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word === undefined) throw new InvalidArgumentError(`It is one of ${words.join(", ")}.`);
    return word;
  };
}

/** Some of these words with commas between, each once, for commander. */
export function listOf<T extends string>(...words: readonly T[]): (text: string) => readonly T[] {
  const read = oneOf(...words);
  return (text) => {
    try {
      return [...new Set(text.split(",").map(read))];
    } catch {
      throw new InvalidArgumentError(`Some of ${words.join(", ")} are needed, with commas between.`);
    }
  };
}

const PATH_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
/** A reference as the engine takes it: registry, path, tag, digest (distribution/reference, regexp.go). */
const IMAGE = new RegExp(
  `^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?${PATH_PART}(?:/${PATH_PART})*(?::\\w[\\w.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$`,
);

/** The name of a QEMU of ours or of an image, for commander: `10.0`, `registry/name:tag`. */
export function qemuName(text: string): string {
  if (!IMAGE.test(text)) throw new InvalidArgumentError("It is a QEMU version or the name of an image.");
  return text;
}
