import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { filesGone, filesLeft } from "./files-left.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-left-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("what a run left", () => {
  it("is every file in its folder but those that have a seal of their own, and the page that is made of them", async () => {
    mkdirSync(join(folder, "escrow-log"));
    for (const name of ["run.json", "timeline.ndjson", "evidence.json", "index.html", "source-qmp.log", "escrow-log/a"])
      writeFileSync(join(folder, name), "12345");
    expect(await filesLeft(folder)).toEqual([
      { name: "escrow-log/a", bytes: 5 },
      { name: "source-qmp.log", bytes: 5 },
    ]);
  });

  it("may have company afterwards, and only what is gone is told, the first six by name", async () => {
    const names = Array.from({ length: 9 }, (_, at) => `${at}.log`);
    for (const name of names) writeFileSync(join(folder, name), name);
    const left = await filesLeft(folder);
    writeFileSync(join(folder, "notes.txt"), "mine");
    expect(await filesGone(folder, left)).toEqual([]);
    for (const name of names.slice(0, 8)) rmSync(join(folder, name));
    expect(await filesGone(folder, left)).toEqual([
      "missing of what the run left: 0.log, 1.log, 2.log, 3.log, 4.log, 5.log and 2 more",
    ]);
  });
});
