import { type Dice, mutateBytes } from "./mutate.ts";

/** What a reader made of an input: it took it, or said what is wrong with it, and where. Whatever else it does is a bug. */
export type Answer = { readonly took: true } | { readonly took: false; readonly said: string };

/** A reader of what comes from outside. */
export interface FuzzTarget<Input = unknown> {
  readonly name: string;
  readonly seeds: readonly Input[];
  mutate(dice: Dice, valid: Input, others: readonly Input[]): Input;
  /** @throws whatever is none of the reader's own errors */
  feed(input: Input): Answer | Promise<Answer>;
  /** For people, and to read it again. */
  show(input: Input): string;
}

export const TOOK: Answer = { took: true };
const BYTES_MAX = 200_000;

/** Its error has to name a place within what was read. */
export function said(
  { message, offset }: { readonly message: string; readonly offset: number },
  length: number,
): Answer {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset > length) {
    throw new Error(`the place of the error is outside of the input: ${message}`);
  }
  return { took: false, said: message };
}

export function ofBytes(
  name: string,
  seeds: () => readonly Buffer[],
  feed: (bytes: Buffer) => Answer | Promise<Answer>,
): FuzzTarget<Buffer> {
  return {
    name,
    seeds: seeds(),
    mutate: (dice, valid, others) => mutateBytes(dice, valid, others, BYTES_MAX),
    feed,
    show: (bytes) => bytes.toString("base64"),
  };
}

export function catching<E extends Error>(
  kinds: readonly (new (...a: never[]) => E)[],
  read: () => void,
  answer: (error: E) => Answer,
): Answer {
  try {
    read();
    return TOOK;
  } catch (error) {
    for (const kind of kinds) if (error instanceof kind) return answer(error);
    throw error;
  }
}

/** So much may be held of a stream of that length. */
export function isBounded(held: number, length: number): void {
  if (held > length) throw new Error(`${held} bytes are held of ${length}`);
}
