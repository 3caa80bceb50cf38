import { UserError } from "../base/errors.ts";

/** What was typed cannot be read; the message says where, and what ought to stand there. */
export class GrammarError extends UserError {
  /** Of the first character that is wrong, from 0. */
  readonly at: number;

  constructor(text: string, at: number, what: string) {
    const rest = text.slice(at, at + 24);
    const near = rest === "" ? "at its end" : `at character ${at + 1} (${JSON.stringify(rest)})`;
    super(`In ${JSON.stringify(text)}, ${near}: ${what}.`);
    this.at = at;
  }
}

/** Reads a text from left to right, and knows where it is. */
export class Cursor {
  readonly text: string;
  #at = 0;

  constructor(text: string) {
    this.text = text;
  }

  get at(): number {
    return this.#at;
  }

  get done(): boolean {
    return this.#at === this.text.length;
  }

  /** Whether this stands here; if so it is behind us now. */
  takes(word: string): boolean {
    if (!this.text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  /** As `takes`, for a word that ends here: `source` does not stand in front of `source-target`. */
  takesWord(word: string): boolean {
    const { at } = this;
    if (this.takes(word) && !/^[\w-]/.test(this.text.slice(this.#at))) return true;
    this.#at = at;
    return false;
  }

  /** To where it was before. */
  goBack(at: number): void {
    this.#at = at;
  }

  /** @throws GrammarError when something else stands here */
  needs(word: string, what: string): void {
    if (!this.takes(word)) this.fails(what);
  }

  /** What of the text from here on the pattern takes, which must be sticky; undefined where it takes nothing. */
  match(sticky: RegExp): string | undefined {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.text)?.[0];
    if (found === undefined || found === "") return undefined;
    this.#at += found.length;
    return found;
  }

  /** One of these words, and no more than it. @throws GrammarError */
  word<T extends string>(words: readonly T[], what: string): T {
    const at = this.#at;
    const found = this.match(/[\w-]+/y);
    const word = words.find((known) => known === found);
    if (word === undefined) this.fails(`${what} is one of ${words.join(", ")}`, at);
    return word;
  }

  fails(what: string, at = this.#at): never {
    throw new GrammarError(this.text, at, what);
  }
}
