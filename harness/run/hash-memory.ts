/**
 * A program for a host's Node: prints the SHA-256 of stretches of a file, one a line (arguments: path, then `offset:bytes`
 * for each, decimal). It holds no single quote, so it stands in a shell command as it is.
 */
export const HASH_MEMORY = `
const { createHash } = require("node:crypto");
const { openSync, readSync } = require("node:fs");
const [path, ...stretches] = process.argv.slice(1);
const file = openSync(path);
for (const stretch of stretches) {
  const [offset, bytes] = stretch.split(":");
  const content = Buffer.alloc(Number(bytes));
  for (let at = 0; at < content.length; ) {
    const got = readSync(file, content, at, content.length - at, BigInt(offset) + BigInt(at));
    if (got === 0) throw new Error("it ends after " + at + " bytes");
    at += got;
  }
  console.log(createHash("sha256").update(content).digest("hex"));
}`;
