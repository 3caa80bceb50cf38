import { UserError } from "./errors.ts";

/** A word, or part of one: in quotes, or plain characters of which a backslash makes the next one plain. */
const PART = /"((?:[^"\\]|\\.)*)"|'([^']*)'|((?:[^\s"'\\]|\\.)+)/y;
const PLAIN = /^[\w@%+=:,./-]+$/;

/**
 * Splits a line into words as a shell does, quotes and backslashes included, and nothing else of what a shell does.
 * @throws UserError for a quote that is not closed
 */
export function splitWords(line: string): readonly string[] {
  const words: string[] = [];
  let at = 0;
  let open = false;
  while (at < line.length) {
    if (/\s/.test(line.charAt(at))) {
      at += 1;
      open = false;
      continue;
    }
    PART.lastIndex = at;
    const found = PART.exec(line);
    if (found === null) throw new UserError(`There is a quote that is not closed: ${line}`);
    const [whole, double, single, plain] = found;
    const text = single ?? (double ?? plain ?? "").replace(/\\(.)/gs, "$1");
    if (open) words.push(`${words.pop() ?? ""}${text}`);
    else words.push(text);
    open = true;
    at += whole.length;
  }
  return words;
}

/** A word as a shell takes it. */
export function quoteWord(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
