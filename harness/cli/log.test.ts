import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UserError } from "../base/errors.ts";
import { folder, TransactionLog } from "../txsync/log/index.ts";
import { goOn, logFileOf, NOTHING, recordOf, store } from "../txsync/log/testing/sketch.ts";
import { registerLog } from "./log.ts";

const PAGE = 4096;

describe("ferryman log", () => {
  let path = "";
  let lines: string[] = [];

  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), "ferryman-log-"));
    lines = [];
    vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
    const log = await TransactionLog.open({ files: folder(path), sync: "memory" });
    let model = NOTHING;
    for (const n of [1, 2, 3]) {
      const pages = [[0, n, n] as const, ...(n === 3 ? [[0, 1, 0] as const] : [])];
      const next = goOn(model, { cumulative: false, pages, frames: 1 });
      await store(log, next.record);
      model = next.model;
    }
    await log.close();
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await rm(path, { recursive: true, force: true });
  });

  async function run(...args: string[]): Promise<void> {
    const program = new Command().exitOverride();
    registerLog(program);
    await program.parseAsync(["log", ...args], { from: "user" });
  }

  it("lists the transactions", async () => {
    await run("list", path, "--json");
    const listed = lines.map((line) => JSON.parse(line) as { n: number; pages: number; mark: number });
    expect(listed).toMatchObject([
      { n: 1, pages: 1, mark: 1 },
      { n: 2, pages: 1, mark: 2 },
      { n: 3, pages: 2, mark: 3 },
    ]);
  });

  it("takes the run's folder as well", async () => {
    await mkdir(join(path, "escrow-log"));
    await rename(join(path, "txlog-00000000"), join(path, "escrow-log", "txlog-00000000"));
    await run("list", path, "--json");
    expect(lines).toHaveLength(3);
  });

  it("verifies a sound log, and says where a broken one ends", async () => {
    await run("verify", path);
    expect(lines).toHaveLength(4);
    expect(lines[2]).toMatch(/^transaction 3: 2 pages, 3 modified, digest [0-9a-f]{16} ok$/);
    expect(lines[3]).toContain("3 whole transactions");
    expect(process.exitCode).toBeUndefined();
    const file = join(path, "txlog-00000000");
    const bytes = await readFile(file);
    bytes[bytes.length - 100] = (bytes[bytes.length - 100] ?? 0) ^ 1;
    await writeFile(file, bytes);
    await run("verify", path);
    expect(lines.at(-1)).toContain("2 whole transactions");
    expect(process.exitCode).toBe(1);
  });

  it.each<[string, (bytes: Buffer) => Buffer | undefined]>([
    ["empty", () => Buffer.alloc(0)],
    ["random bytes", (bytes) => Buffer.from(bytes.map((_, at) => (at * 7_919 + (at >> 3) * 31) & 0xff))],
    ["of another kind", () => Buffer.from("{}\n")],
    ["damaged in its head", (bytes) => bytes.fill(0xff, 2, 4)],
    ["damaged in the first transaction", (bytes) => bytes.fill(0xff, 200, 210)],
    ["damaged in the last one", (bytes) => bytes.fill(0xff, bytes.length - 100, bytes.length - 98)],
    ["a directory", () => undefined],
  ])("lists a log that is %s as one that is damaged, and where", async (_, damage) => {
    const file = join(path, "txlog-00000000");
    const damaged = damage(await readFile(file));
    await rm(file);
    if (damaged === undefined) await mkdir(file);
    else await writeFile(file, damaged);
    const errors: string[] = [];
    vi.spyOn(process.stderr, "write").mockImplementation((text) => errors.push(String(text)) > 0);
    for (const how of [["list"], ["list", "--json"], ["verify"]]) {
      const [command = "", ...options] = how;
      process.exitCode = undefined;
      lines = [];
      errors.length = 0;
      const refused = await run(command, path, ...options).catch((error: unknown) => error);
      const said = refused instanceof UserError ? refused.message : [...lines, ...errors].join("\n");
      expect(refused === undefined || refused instanceof UserError, String(refused)).toBe(true);
      expect(said, how.join(" ")).toMatch(/txlog-00000000.*(from byte \d+ on it is not sound|is a directory|is empty)/);
      if (refused === undefined) expect(process.exitCode).toBe(1);
    }
  });

  it("is content with a log whose agent was still receiving something", async () => {
    const file = join(path, "txlog-00000000");
    const bytes = await readFile(file);
    await writeFile(file, bytes.subarray(0, bytes.length - 3));
    await run("verify", path);
    expect(lines.at(-1)).toMatch(/2 whole transactions, .* the last \d+ bytes are of a record that was not committed/);
    expect(process.exitCode).toBeUndefined();
  });

  it("says which transaction must not be believed, though every byte is sound", async () => {
    const [one, two] = [new Map([["0:1", 1]]), new Map([["0:2", 2]])];
    const records = [
      recordOf({ n: 1, since: "base", pages: one }),
      recordOf({ n: 2, since: 1, pages: two, all: new Map([["0:1", 9], ...two]) }),
    ];
    await writeFile(join(path, "txlog-00000000"), logFileOf(records));
    await run("verify", path);
    expect(lines[0]).toMatch(/^transaction 1: .* ok$/);
    expect(lines[1]).toMatch(/^transaction 2: .* NOT TO BE BELIEVED \(digest\): .*the modified set is 2 pages/);
    expect(lines[2]).toContain("1 of them must not be believed");
    expect(process.exitCode).toBe(1);
  });

  it("extracts the RAM image of a transaction over the base", async () => {
    const base = join(path, "base");
    const out = join(path, "image");
    await writeFile(base, Buffer.alloc(16 * PAGE, 9));
    await run("extract", path, "--base", base, "--out", out, "--transaction", "2");
    const two = await readFile(out);
    expect([0, 1, 2, 3].map((page) => two[page * PAGE])).toEqual([9, 1, 2, 9]);
    await run("extract", path, "--base", base, "--out", out);
    const three = await readFile(out);
    expect([0, 1, 2, 3].map((page) => three[page * PAGE])).toEqual([9, 0, 2, 3]);
    expect(three.length).toBe(16 * PAGE);
  });

  it("says in one sentence what is missing", async () => {
    await expect(run("list", join(path, "nowhere"))).rejects.toThrow(/no transaction log in/);
    await expect(run("extract", path, "--out", join(path, "x"), "--transaction", "7")).rejects.toThrow(
      /there are 1 to 3/,
    );
    await expect(run("extract", path, "--out", join(path, "x"), "--block", "vga")).rejects.toThrow(
      /there are ram0, pc.bios/,
    );
  });
});
