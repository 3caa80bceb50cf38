import type { ChildProcess } from "node:child_process";
import { closeSync, constants, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { setPriority } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { endOfFile } from "../../base/end-of-file.ts";
import { messageOf } from "../../base/errors.ts";
import type { Budget } from "../dirty/pagescan.ts";
import type { Starter } from "./starter.ts";

/** Processes and FIFOs of this host, as /proc and the file system show them. */

/** Only for what is not the agent's own child: a child's end is told by its exit. */
const LOOK_EVERY_MS = 50;

export function exitOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", () => resolve());
  });
}

/**
 * Settles when a process that is not our child is gone; another one that has got its number meanwhile is another one.
 * Whoever waits has nothing else to live for: the timer counts.
 */
export function monitored(pid: number): Promise<void> {
  const since = statOf(pid)?.started;
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (alive(pid) && statOf(pid)?.started === since) return;
      clearInterval(timer);
      resolve();
    }, LOOK_EVERY_MS);
  });
}

/** proc(5): the third field is its state, the twenty-second when it was started. */
function statOf(pid: number, proc = "/proc"): { readonly state: string; readonly started: string } | undefined {
  try {
    const stat = readFileSync(join(proc, `${pid}`, "stat"), "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0] ?? "", started: fields[19] ?? "" };
  } catch {
    return undefined;
  }
}

/**
 * Whether anything of it runs, or is still to end. Its first thread may be gone before the others are, which have its
 * files and ports until then: a port of a QEMU that was killed was seen to be taken for a tenth of a second more.
 * @param proc for tests
 */
export function alive(pid: number, proc = "/proc"): boolean {
  const state = statOf(pid, proc)?.state;
  if (state === "Z" || state === "X") return threadsIn(pid, proc).length > 1;
  return state !== undefined;
}

function threadsIn(pid: number, proc: string): readonly string[] {
  try {
    return readdirSync(join(proc, `${pid}`, "task"));
  } catch {
    return [];
  }
}

/** Whether the process is the program, started with something of that folder. A pid may have been given to somebody else since. */
export function isProgram(pid: number, program: string, folder: string): boolean {
  if (!Number.isSafeInteger(pid) || pid < 2 || !alive(pid)) return false;
  try {
    const [name, ...args] = commandLine(pid).split("\0");
    return name === program && args.some((arg) => arg.includes(`${folder}/`));
  } catch {
    return false;
  }
}

/** Of one whose first thread has ended another one still knows it. */
function commandLine(pid: number): string {
  const own = readFileSync(`/proc/${pid}/cmdline`, "utf8");
  if (own !== "") return own;
  const threads = threadsIn(pid, "/proc").map((thread) => readFileSync(`/proc/${pid}/task/${thread}/cmdline`, "utf8"));
  return threads.find((line) => line !== "") ?? "";
}

/** All processes of this host that are the program, started with something of that folder, whoever started them. */
export function processesOf(program: string, folder: string): readonly number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => isProgram(pid, program, folder));
}

export function signal(pid: number, name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

/** What others do not use of theirs may be used, so that is enough for bursts; several runs fit beside each other on two processors. */
const CONTROL_BUDGET: Budget = { runtime_us: 15_000, period_us: 100_000 };
const MAIN_LOOP_BUDGET: Budget = { runtime_us: 5_000, period_us: 100_000 };
/**
 * QEMU reads and answers its monitors in a thread of their own, twice for each word (QEMU: monitor/monitor.c; iothread.c,
 * iothread_init, names it "IO" and what it is for). The kernel keeps 15 characters.
 */
const MONITOR_THREAD = "IO mon_iothread";
const MONITOR_BUDGET: Budget = { runtime_us: 2_000, period_us: 100_000 };
/** A `stop` waits for a flush of every disk, and for each of them twice where it is followed by a state. */
const DISKS_BUDGET: Budget = { runtime_us: 10_000, period_us: 100_000 };
const BUDGET_MS = 2_000;
const FIFOS_MS = 15_000;

/**
 * This thread goes before the vCPUs of its host: it needs a millisecond now and then, and leases hang on that. Where it has
 * no budget, but a nice value, what it starts from now on inherits that (setpriority(2): on Linux it is of a thread).
 * @param helper the program that asks the kernel for a budget (pagescan)
 * @returns why not, where it may not even by a nice value
 */
export async function goFirst(starter: Starter, helper: string): Promise<string | undefined> {
  return await goBefore(starter, helper, process.pid, CONTROL_BUDGET, -20);
}

/** The same of the daemon that serves this host's disks: a guest that stands still waits for it. */
export async function disksGoFirst(starter: Starter, helper: string): Promise<void> {
  await goBefore(starter, helper, process.pid, DISKS_BUDGET, -10);
}

/** A child that is not to inherit it: to be called before it has started threads of its own. */
export function goWithTheOthers(pid: number): void {
  priority(pid, 0);
}

/**
 * QEMU's main loop goes before its vCPUs: it is what a transaction waits for while the guest stands still (`stop`, device
 * state, `cont`). To be called when the vCPUs have their threads: they keep their place.
 */
export async function mainLoopGoesFirst(starter: Starter, helper: string, pid: number): Promise<void> {
  await goBefore(starter, helper, pid, MAIN_LOOP_BUDGET, -10);
  for (const thread of threadsOf(pid, MONITOR_THREAD)) await goBefore(starter, helper, thread, MONITOR_BUDGET, -10);
}

/** Threads of that name (proc(5)); none where the process is gone. */
function threadsOf(pid: number, name: string): readonly number[] {
  const tasks = `/proc/${pid}/task`;
  try {
    return readdirSync(tasks)
      .filter((thread) => readFileSync(join(tasks, thread, "comm"), "utf8").trim() === name)
      .map(Number);
  } catch {
    return [];
  }
}

async function goBefore(
  starter: Starter,
  helper: string,
  pid: number,
  { runtime_us, period_us }: Budget,
  nice: number,
): Promise<string | undefined> {
  try {
    await starter.run(helper, ["first", `${pid}`, `${runtime_us}`, `${period_us}`], BUDGET_MS);
    return undefined;
  } catch {
    return priority(pid, nice);
  }
}

function priority(pid: number, nice: number): string | undefined {
  try {
    setPriority(pid, nice);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Nobody waits for it but whoever asked: a process takes its time to start where processors are busy. */
export async function makeFifos(starter: Starter, paths: readonly string[]): Promise<void> {
  await starter.run("mkfifo", paths, FIFOS_MS);
}

/** Both ends of a `-chardev pipe`: opened for both ways each, so that neither side ever sees an end. */
export function openFifos(path: string): Duplex {
  const open = (name: string): number => openSync(`${path}.${name}`, constants.O_RDWR | constants.O_NONBLOCK);
  const readable = new Socket({ fd: open("out"), readable: true, writable: false });
  const writable = new Socket({ fd: open("in"), readable: false, writable: true });
  return Duplex.from({ readable, writable });
}

/**
 * Writes into a FIFO as far as there is room, and never waits for room: a write that waits would hold one of the few
 * threads that promises and the log are written by. What finds no room is lost, as on a line that nobody reads.
 * @returns how many bytes were taken
 */
export function pushInto(path: string, bytes: Uint8Array): number {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    return writeSync(fd, bytes);
  } catch {
    // No room (EAGAIN), or gone meanwhile: then nobody reads it.
    return 0;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Of a log no more is read: its beginning may have been cut off. */
const TAIL_BYTES = 64 * 1024;

/** The last lines of QEMU's own log. */
export function lastLines(folder: string): string {
  try {
    return endOfFile(join(folder, "log"), TAIL_BYTES).trim().split("\n").slice(-6).join(" | ") || "it said nothing";
  } catch (error) {
    return messageOf(error);
  }
}
