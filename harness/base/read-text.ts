import { readFile, stat } from "node:fs/promises";
import { messageOf, UserError } from "./errors.ts";

/**
 * The text of a file that ought to be there.
 * @throws UserError naming the file and what is wrong: it is missing, a directory, no ordinary file, or cannot be read
 */
export async function readText(path: string): Promise<string> {
  const found = await stat(path).catch((thrown: NodeJS.ErrnoException) => thrown);
  if (found instanceof Error)
    throw new UserError(found.code === "ENOENT" ? `${path} is missing` : `${path} cannot be read: ${found.message}`);
  if (found.isDirectory()) throw new UserError(`${path} is a directory, where a file ought to be`);
  // Whoever reads from a pipe waits for a writer, for ever.
  if (!found.isFile()) throw new UserError(`${path} is no ordinary file`);
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw new UserError(`${path} cannot be read: ${messageOf(thrown)}`);
  }
}

/**
 * What a file of JSON holds.
 * @throws UserError as `readText`, and where it is empty or no JSON
 */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(await readText(path), path);
}

/** @throws UserError naming `path` where the text is empty or no JSON */
export function parseJson(text: string, path: string): unknown {
  if (text.trim() === "") throw new UserError(`${path} is empty`);
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new UserError(`${path} is not JSON: ${printable(messageOf(thrown))}`);
  }
}

/** A parser's words repeat what stands in the file, and that may be anything: no terminal is to obey it. */
export function printable(text: string): string {
  return text.replace(/[^\t\x20-\x7e]+/g, "?");
}
