import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { checkImage, formatOf } from "./image-file.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-image-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function qcow2(name: string, change: (header: Buffer) => void = () => undefined): string {
  const header = Buffer.alloc(512);
  header.write("QFI\xfb", 0, "latin1");
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(10n * 1024n ** 3n, 24);
  change(header);
  const path = join(folder, name);
  writeFileSync(path, header);
  return path;
}

function raw(name: string, bytes: number): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, bytes);
  return path;
}

describe("an image of the user's", () => {
  it("is known by its first bytes", () => {
    expect(formatOf(qcow2("a"))).toBe("qcow2");
    expect(formatOf(raw("b", 1024))).toBe("raw");
    expect(formatOf(raw("empty", 0))).toBe("raw");
  });

  it("tells the size of the disk that it is", () => {
    expect(checkImage({ path: qcow2("c"), format: "qcow2" })).toBe(10 * 1024 ** 3);
    expect(checkImage({ path: raw("d", 4096), format: "raw" })).toBe(4096);
  });

  it.for<[string, () => string, "raw" | "qcow2", RegExp]>([
    ["is empty", () => raw("e", 0), "raw", /has 0 bytes/],
    ["has half a sector", () => raw("f", 700), "raw", /multiple of 512/],
    ["is not what it is said to be", () => raw("g", 512), "qcow2", /no qcow2 image, so say format=raw/],
    [
      "needs another file",
      () => qcow2("h", (header) => header.writeBigUInt64BE(600n, 8)),
      "qcow2",
      /backing file; make one piece/,
    ],
    ["is encrypted", () => qcow2("i", (header) => header.writeUInt32BE(2, 32)), "qcow2", /encrypted/],
    ["is corrupt", () => qcow2("j", (header) => header.writeBigUInt64BE(2n, 72)), "qcow2", /qemu-img check/],
    ["has its data elsewhere", () => qcow2("k", (header) => header.writeBigUInt64BE(4n, 72)), "qcow2", /another file/],
    ["has a colon in its name", () => raw("l:m", 512), "raw", /colon/],
    ["is a folder", () => folder, "raw", /cannot be read: it is no file/],
    ["is not there", () => join(folder, "none"), "qcow2", /cannot be read/],
  ])("that %s is refused", ([, make, format, why]) => {
    const image = { path: make(), format };
    expect(() => checkImage(image)).toThrow(UserError);
    expect(() => checkImage(image)).toThrow(why);
  });
});
