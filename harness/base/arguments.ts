import { InvalidArgumentError } from "commander";

/** Numbers as they are typed on a command line. @throws InvalidArgumentError in one sentence */

/** From 0 on. */
export function wholeNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError("Not a whole number.");
  return value;
}

/** Some time, which has an end. */
export function minutes(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("Not a time.");
  return value;
}
