import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { alive, signal } from "./process.ts";
import { type Starter, startHere } from "./starter.ts";
import { StarterThread } from "./starter-thread.ts";

const PROGRAM = fileURLToPath(new URL("./testing/starter-program.ts", import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-starter-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const failures: Error[] = [];
const starters: readonly (readonly [string, () => Starter & Partial<AsyncDisposable>])[] = [
  ["in the calling thread", () => startHere],
  ["in a thread of its own", () => new StarterThread(PROGRAM, (error) => failures.push(error))],
];

describe.each(starters)("processes are started %s", (_, make) => {
  let starter: Starter & Partial<AsyncDisposable>;
  beforeEach(() => {
    starter = make();
  });
  afterEach(async () => {
    await starter[Symbol.asyncDispose]?.();
  });

  test("one that lives on writes into its log, has its environment, and its end is told", async () => {
    const log = join(folder, "log");
    const args = ["-c", 'echo "$FERRYMAN_TEST"; echo error >&2; exec sleep 60'];
    const { pid, exited } = await starter.start({ file: "sh", args, log, env: { FERRYMAN_TEST: "of ours" } });
    await expect.poll(() => readFileSync(log, "utf8")).toBe("of ours\nerror\n");
    expect(alive(pid)).toBe(true);
    signal(pid, "SIGKILL");
    await exited;
    expect(alive(pid)).toBe(false);
  });

  test("several at a time, each with its own end", async () => {
    const log = join(folder, "log");
    const start = (args: string[]) => starter.start({ file: "sh", args, log, env: {} });
    const [lives, dies] = await Promise.all([start(["-c", "exec sleep 60"]), start(["-c", "exit 3"])]);
    await dies.exited;
    expect(alive(lives.pid)).toBe(true);
    signal(lives.pid, "SIGKILL");
    await lives.exited;
  });

  test("one that is not there, or fails, is told", async () => {
    const none = join(folder, "none");
    await expect(starter.start({ file: none, args: [], log: join(folder, "log"), env: {} })).rejects.toThrow("ENOENT");
    await expect(starter.start({ file: "sh", args: [], log: join(none, "log"), env: {} })).rejects.toThrow("ENOENT");
    await expect(starter.run("sh", ["-c", "echo broken >&2; exit 1"], 5_000)).rejects.toThrow("broken");
    await starter.run("true", [], 5_000);
  });
});

test("a thread that is gone is told: nobody could start anything any more", async () => {
  const told = Promise.withResolvers<Error>();
  const starter = new StarterThread(PROGRAM, told.resolve);
  await starter[Symbol.asyncDispose]();
  expect((await told.promise).message).toContain("ended with code");
  expect(failures.every(({ message }) => message.includes("ended with code"))).toBe(true);
});
