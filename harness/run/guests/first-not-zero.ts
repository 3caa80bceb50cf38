/**
 * A program for a host's Node: prints where, in the last so many bytes of a file (arguments: path, bytes), the first byte
 * stands that is not zero; -1: there is none. It holds no single quote, so it stands in a shell command as it is.
 */
export const FIRST_NOT_ZERO = `
const { fstatSync, openSync, readSync } = require("node:fs");
const [path, length] = process.argv.slice(1);
const [file, zeros, chunk] = [openSync(path), Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
const start = fstatSync(file).size - Number(length);
let found = -1;
for (let at = start; found < 0; at += chunk.length) {
  const got = readSync(file, chunk, 0, chunk.length, at);
  if (got === 0) break;
  if (zeros.compare(chunk, 0, got, 0, got) !== 0) found = at - start + chunk.findIndex((byte) => byte !== 0);
}
console.log(found);`;
