import { join } from "node:path";
import { InvalidArgumentError } from "commander";

/** Where runs are written. */
export const RUNS_FOLDER = join(import.meta.dirname, "..", "..", "reports", "runs");

/** A whole number of at least `least` and, where it is given, at most `most`, for commander. */
export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`A whole number of at least ${least} is needed.`);
    }
    if (value > most) throw new InvalidArgumentError(`A whole number from ${least} to ${most} is needed.`);
    return value;
  };
}

/** 0 to 100, for commander. */
export function percent(text: string): number {
  const value = wholeNumber(0)(text);
  if (value > 100) throw new InvalidArgumentError("It is a percentage, 0 to 100.");
  return value;
}

/** One of some words, for commander. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word === undefined) throw new InvalidArgumentError(`It is one of ${words.join(", ")}.`);
    return word;
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
