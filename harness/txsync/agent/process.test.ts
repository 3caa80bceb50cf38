import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { getPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { alive, isProgram, mainLoopGoesFirst, makeFifos, monitored, processesOf, pushInto } from "./process.ts";
import { startHere } from "./starter.ts";
import { configOf, MACHINE } from "./testing/stage.ts";
import { folderOf, killLeftover, makeSpares, VmProcess } from "./vm-process.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-process-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("a FIFO that nobody reads", () => {
  test("takes what it has room for, never waits, and takes more when it is read", async () => {
    const path = join(folder, "com1.in");
    await makeFifos(startHere, [path]);
    // As QEMU has it open.
    const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    let taken = 0;
    for (let i = 0; i < 200; i += 1) taken += pushInto(path, Buffer.alloc(1000, i));
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(200_000);
    expect(pushInto(path, Buffer.alloc(1000))).toBe(0);
    const some = Buffer.alloc(8192);
    expect(readSync(fd, some)).toBe(8192);
    expect(pushInto(path, Buffer.alloc(1000))).toBeGreaterThan(0);
    closeSync(fd);
  });

  test("one that is gone takes nothing", () => {
    expect(pushInto(join(folder, "gone", "com1.in"), Buffer.from("x"))).toBe(0);
  });
});

const sleeper = (...args: string[]) => spawn("sh", ["-c", "read x", ...args], { stdio: ["pipe", "ignore", "ignore"] });

describe("a process by its number", () => {
  test("goes first by a nice value where nobody can ask the kernel for a budget", async ({ skip }) => {
    if (process.getuid?.() !== 0) skip("only root may raise a priority");
    const child = sleeper();
    await once(child, "spawn");
    const pid = child.pid as number;
    await mainLoopGoesFirst(startHere, join(folder, "no-helper"), pid);
    expect(getPriority(pid)).toBe(-10);
    child.kill("SIGKILL");
    // One that is gone is nobody to be raised.
    await once(child, "exit");
    await mainLoopGoesFirst(startHere, join(folder, "no-helper"), pid);
  });

  test("is our QEMU only where program and folder are the same", async () => {
    const child = sleeper(`${folder}/qmp`);
    await once(child, "spawn");
    const pid = child.pid as number;
    await waitFor({ what: "it", timeout_ms: 5_000 }, () => isProgram(pid, "sh", folder) || undefined);
    expect(isProgram(pid, "s", folder)).toBe(false);
    expect(isProgram(pid, "sh", `${folder}-2`)).toBe(false);
    expect(isProgram(pid, "sh", folder.slice(0, -1))).toBe(false);
    for (const no of [Number.NaN, 0, 1, -1, 1.5]) expect(isProgram(no, "sh", folder)).toBe(false);
    const gone = monitored(pid);
    child.stdin?.end();
    await gone;
    expect([alive(pid), isProgram(pid, "sh", folder)]).toEqual([false, false]);
  });

  test("whose first thread has ended lives for as long as another one does", () => {
    const proc = (state: string, threads: readonly string[]): boolean => {
      const of = join(folder, "77");
      rmSync(of, { recursive: true, force: true });
      for (const thread of threads) mkdirSync(join(of, "task", thread), { recursive: true });
      writeFileSync(join(of, "stat"), `77 (qemu) (x) ${state} 1 77 77 0`);
      return alive(77, folder);
    };
    expect([proc("S", ["77"]), proc("Z", ["77", "79"]), proc("X", ["77", "79"]), proc("Z", ["77"])]).toEqual([
      true,
      true,
      true,
      false,
    ]);
    rmSync(join(folder, "77"), { recursive: true });
    expect(alive(77, folder)).toBe(false);
  });

  test("that is somebody else's by now is not ended, nor adopted", async () => {
    const child = sleeper("somewhere/else");
    await once(child, "spawn");
    const config = configOf("target", folder, { qemu: "sh" });
    mkdirSync(folderOf(config, 1));
    writeFileSync(join(folderOf(config, 1), "pid"), String(child.pid));
    await killLeftover(config, 1);
    expect(VmProcess.adopt(config, folderOf(config, 1))).toBeUndefined();
    expect(alive(child.pid as number)).toBe(true);
    child.stdin?.end();
    await once(child, "exit");
  });

  test("whose agent died before it had noted its number does not stay behind", async () => {
    const config = configOf("source", folder, { qemu: "sh" });
    const left = sleeper(`${folderOf(config, 2)}/qmp`);
    const another = sleeper(`${folderOf(config, 22)}/qmp`);
    const both = [2, 22].map((number) => folderOf(config, number));
    await waitFor(
      { what: "both", timeout_ms: 5_000 },
      () => both.every((of) => processesOf("sh", of).length === 1) || undefined,
    );
    await killLeftover(config, 2);
    expect([alive(left.pid as number), alive(another.pid as number)]).toEqual([false, true]);
    another.stdin?.end();
    await once(another, "exit");
  });
});

test("a QEMU whose monitor speaks something else does not stay behind", async () => {
  // Runs as QEMU would, with a monitor that is none.
  const program = join(folder, "no-qemu");
  const script = `#!${process.execPath}
const unix = process.argv.flatMap((arg) => /path=([^,]*\\/qmp)/.exec(arg)?.[1] ?? /unix:([^,]*\\/qmp)/.exec(arg)?.[1] ?? [])[0];
require("node:net").createServer((socket) => socket.write("220 this is mail\\r\\n")).listen(unix);
`;
  writeFileSync(program, script, { mode: 0o755 });
  const config = configOf("source", folder, { qemu: program });
  await expect(VmProcess.start(config, { ...MACHINE, kernel: "kernel" }, 1, "boot", startHere)).rejects.toThrow(
    "not QMP",
  );
  expect(alive(Number(readFileSync(join(folderOf(config, 1), "pid"), "utf8")))).toBe(false);
});

test("a QEMU finds room for its serial lines where its host has none any more", async () => {
  const config = configOf("source", folder, { qemu: "false" });
  await makeSpares(config);
  await makeSpares(config);
  await expect(VmProcess.start(config, { ...MACHINE, kernel: "kernel" }, 1, "boot", startHere)).rejects.toThrow(
    "ended at once",
  );
  for (const name of ["com1", "com2"]) {
    const { size, blocks } = statSync(join(folderOf(config, 1), `${name}.out`));
    expect([size, blocks * 512]).toEqual([0, 256 * 1024]);
  }
  // Without spares it is started all the same.
  await expect(VmProcess.start(config, { ...MACHINE, kernel: "kernel" }, 2, "boot", startHere)).rejects.toThrow(
    "ended at once",
  );
  expect(statSync(join(folderOf(config, 2), "com1.out")).blocks).toBe(0);
});

test("what QEMU says for itself is kept to its last MiB, once it is long", async () => {
  const config = configOf("source", folder, { qemu: "sh" });
  const of = folderOf(config, 3);
  mkdirSync(of, { recursive: true });
  await makeFifos(startHere, [join(of, "oob.in"), join(of, "oob.out")]);
  const runs = sleeper(`${of}/qmp`);
  await waitFor({ what: "it", timeout_ms: 5_000 }, () => processesOf("sh", of).length === 1 || undefined);
  writeFileSync(join(of, "pid"), String(runs.pid));
  const vm = VmProcess.adopt(config, of);
  if (vm === undefined) throw new Error("it is there");
  const log_path = join(of, "log");
  writeFileSync(log_path, `${"a long line\n".repeat(2 ** 18)}the last\n`);
  expect(await vm.boundLog()).toBe(false);
  appendFileSync(log_path, `${"another\n".repeat(2 ** 18)}now the last\n`);
  expect(await vm.boundLog()).toBe(true);
  expect(statSync(log_path).blocks * 512).toBeLessThan(1.1 * 2 ** 20);
  expect(vm.last_lines).toBe(`${"another | ".repeat(5)}now the last`);
  await vm.kill();
});
