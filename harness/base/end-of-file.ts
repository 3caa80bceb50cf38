import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** The last bytes of a file as text, `most_bytes` of them or all that there are. @throws what the file system does */
export function endOfFile(path: string, most_bytes: number): string {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, most_bytes));
    return bytes.subarray(0, readSync(file, bytes, 0, bytes.length, size - bytes.length)).toString("utf8");
  } finally {
    closeSync(file);
  }
}
