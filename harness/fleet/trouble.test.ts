import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AgentTrouble, makeOrders } from "./trouble.ts";

/** Stands for an agent: answers each line by what came of it. */
const PROGRAM = `
import { mkdir, open, rename, readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
const folder = process.argv[1];
const bad = await open(folder + "/bad/log", "w+");
const deeds = {
  write: () => bad.write(Buffer.from("abc"), 0, 3, 0),
  "write-many": () => bad.writev([Buffer.from("a"), Buffer.from("b")], 0),
  sync: () => bad.datasync(),
  truncate: () => bad.truncate(3),
  read: () => bad.read(Buffer.alloc(3), 0, 3, 0),
  make: () => writeFile(folder + "/bad/new", "x"),
  rename: () => rename(folder + "/bad/log", folder + "/bad/other"),
  known: async () => {
    await mkdir(folder + "/bad", { recursive: true });
    await (await open(folder + "/bad/log", "a+")).close();
  },
  elsewhere: () => writeFile(folder + "/good/new", "x").then(() => readFile(folder + "/good/new")),
  child: () => undefined,
};
const base = { monotonic: performance.now() - Number(process.hrtime.bigint() / 1000000n), wall: Date.now() };
createInterface({ input: process.stdin }).on("line", async (line) => {
  const [deed, ...rest] = line.split(" ");
  if (deed === "clocks") return console.log(Math.round(performance.now() - Number(rest[0])) + " " + Math.round(Date.now() - Number(rest[1])));
  if (deed === "now") return console.log(performance.now() + " " + Date.now());
  if (deed === "waits") {
    const cell = new Int32Array(new SharedArrayBuffer(4));
    return console.log(Atomics.wait(cell, 0, 0, 50));
  }
  if (deed === "environment") return console.log(String(process.env.LD_PRELOAD) + " " + String(process.env.FERRYMAN_TROUBLE));
  try {
    await deeds[deed]();
    console.log("done");
  } catch (error) {
    console.log(error.code);
  }
});
`;

/** Whether this machine can build the library; the images are built where it can. */
function canBuild(): boolean {
  try {
    execFileSync("gcc", ["--version"], { stdio: "ignore" });
    return process.platform === "linux" && process.arch === "x64";
  } catch {
    return false;
  }
}

describe.skipIf(!canBuild())("what makes an agent's files fail and its clocks step", () => {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-trouble-"));
  const orders = join(folder, "orders");
  const run = async (command: string): Promise<string> => (await promisify(execFile)("sh", ["-c", command])).stdout;
  const trouble = new AgentTrouble({ role: "escrow", run }, orders);
  const library = join(folder, "trouble.so");
  let child: ReturnType<typeof start>;

  function start() {
    return spawn(process.execPath, ["--input-type=module", "-e", PROGRAM, folder], {
      env: { ...process.env, LD_PRELOAD: library, FERRYMAN_TROUBLE: orders },
      stdio: ["pipe", "pipe", "inherit"],
    });
  }
  let answers: Interface;
  async function ask(line: string): Promise<string> {
    const answer = once(answers, "line");
    child.stdin.write(`${line}\n`);
    return String((await answer)[0]);
  }
  /** What has to happen for a trouble to strike is called for again and again, as an agent would. */
  async function striking(strikes: Promise<void>, deed: string): Promise<void> {
    const is = { waiting: true };
    const ended = strikes.finally(() => {
      is.waiting = false;
    });
    ended.catch(() => undefined);
    while (is.waiting) await ask(deed);
    await ended;
  }
  const fails = (how: Parameters<AgentTrouble["fail"]>[1]): Promise<void> => trouble.fail(`${folder}/bad/`, how, 5_000);

  beforeAll(async () => {
    const source = join(import.meta.dirname, "../../fixtures/native/agent-trouble.c");
    execFileSync("gcc", ["-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden", source, "-o", library]);
    for (const name of ["bad", "good"]) mkdirSync(join(folder, name));
    await makeOrders({ role: "escrow", run }, orders);
    await expect(trouble.step("wall", 1, 100)).rejects.toThrow("was started without what makes its files fail");
    child = start();
    answers = createInterface({ input: child.stdout });
    expect(await ask("write")).toBe("done");
  });
  afterAll(() => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  it("what it starts has nothing of it", async () => {
    expect(await ask("environment")).toBe("undefined undefined");
  });

  it("calls that write fail, on those files alone, until it is mended", async () => {
    await striking(fails({ calls: "writes", error: "eio" }), "write");
    for (const deed of ["write", "write-many", "sync", "truncate", "make", "rename"])
      expect(await ask(deed)).toBe("EIO");
    for (const deed of ["read", "elsewhere"]) expect(await ask(deed)).toBe("done");
    await expect(trouble.fail("/elsewhere", { calls: "reads", error: "eio" }, 100)).rejects.toThrow("fail already");
    await trouble.mend();
    for (const deed of ["write", "write-many", "sync"]) expect(await ask(deed)).toBe("done");
  });

  it("a disk that is full says so, and one that cannot be read is written to", async () => {
    await striking(fails({ calls: "writes", error: "full" }), "sync");
    for (const deed of ["write", "make"]) expect(await ask(deed)).toBe("ENOSPC");
    // What needs no room, and what is there.
    for (const deed of ["truncate", "read", "known", "rename"]) expect(await ask(deed)).toBe("done");
    await trouble.mend();
    await striking(fails({ calls: "reads", error: "eio" }), "read");
    expect([await ask("read"), await ask("write")]).toEqual(["EIO", "done"]);
    await trouble.mend();
  });

  it("what nothing came of has not struck, and is not in force", async () => {
    await expect(trouble.fail(`${folder}/none/`, { calls: "all", error: "eio" }, 100)).rejects.toThrow("to fail");
    expect(readFileSync(orders).readUInt32LE(16)).toBe(0);
  });

  it("clocks step, and a wait is as long as it was", async () => {
    const before = await ask("now");
    await striking(trouble.step("monotonic", 3_600_000, 5_000), "now");
    const [monotonic = 0, wall = 0] = (await ask(`clocks ${before}`)).split(" ").map(Number);
    expect([Math.floor(monotonic / 3_600_000), Math.floor(wall / 3_600_000)]).toEqual([1, 0]);
    expect(await ask("waits")).toBe("timed-out");
    await striking(trouble.step("wall", -3_600_000, 5_000), "now");
    const [, back = 0] = (await ask(`clocks ${before}`)).split(" ").map(Number);
    expect(Math.ceil(back / 3_600_000)).toBe(-0);
    await trouble.step("wall", 3_600_000, 5_000);
    const [, right = -1] = (await ask(`clocks ${before}`)).split(" ").map(Number);
    expect(right).toBeGreaterThanOrEqual(0);
  });
});
