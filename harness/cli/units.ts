import type { Cursor } from "./cursor.ts";

/** Numbers with units, as they are typed and as they are printed: the same, where it is the shortest way. */

/** Reads a value where the cursor is. @throws GrammarError that says what ought to stand there */
export type Read<T> = (cursor: Cursor) => T;

export interface Unit {
  readonly read: Read<number>;
  readonly print: (value: number) => string;
}

function unit(units: Readonly<Record<string, number>>, what: string, example: string): Unit {
  // From large to small: printed in the largest that it is a whole number of.
  const ordered = Object.entries(units).sort(([, a], [, b]) => b - a);
  return {
    read(cursor) {
      const { at } = cursor;
      const number = cursor.match(/\d+(?:\.\d+)?/y);
      const name = number === undefined ? undefined : (cursor.match(/ ?[a-zA-Zµ]+/y)?.trim() ?? "");
      const factor = name === undefined ? undefined : units[name];
      const value = Math.round(Number(number) * (factor ?? Number.NaN));
      if (factor === undefined || !Number.isSafeInteger(value))
        cursor.fails(`${what} is needed, such as ${example}`, at);
      return value;
    },
    print(value) {
      const [name, factor] = ordered.find(([, size]) => value !== 0 && value % size === 0) ?? ordered.at(-1) ?? ["", 1];
      return `${value / factor}${name}`;
    },
  };
}

/** In milliseconds. */
export const DURATION = unit({ ms: 1, s: 1_000, min: 60_000 }, "a time with its unit", "200ms or 1.5s");
/** In microseconds. */
export const SHORT = unit({ us: 1, ms: 1_000, s: 1_000_000 }, "a time with its unit", "300us or 1ms");
export const BYTES = unit(
  { "": 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 },
  "a number of bytes",
  "4096, 64KiB or 8MiB",
);
export const COUNT: Unit = {
  read(cursor) {
    const { at } = cursor;
    const value = Number(cursor.match(/\d+/y) ?? "x");
    if (!Number.isSafeInteger(value)) cursor.fails("a whole number is needed", at);
    return value;
  },
  print: String,
};
export const PERCENT: Unit = {
  read(cursor) {
    const { at } = cursor;
    const value = Number(cursor.match(/\d+(?:\.\d+)?/y) ?? "x");
    if (Number.isNaN(value) || !cursor.takes("%")) cursor.fails("a share is needed, such as 30%", at);
    return value;
  },
  print: (value) => `${value}%`,
};
