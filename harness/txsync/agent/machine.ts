import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { Socket } from "node:net";
import { join } from "node:path";
import { Duplex } from "node:stream";
import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
import { qemuArgv, RAM_BLOCK } from "../../qemu/command-line.ts";
import { QmpClient, type QmpEvent } from "../../qemu/qmp.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { tryConnect } from "../../qemu/unix-socket.ts";
import { findBlocks } from "../dirty/find-blocks.ts";
import type { AgentConfig } from "./config.ts";
import { OUTPUT_CHANNELS } from "./output.ts";

const endpoint = z.strictObject({ host: z.string(), port: z.int() });

/** The VM, as whoever manages the agents describes it: the same on every host. */
export const machineSchema = z.strictObject({
  name: z.string(),
  accel: z.enum(["tcg", "kvm"]),
  machine: z.string(),
  memory_bytes: z.int().min(1 << 20),
  smp: z.int().min(1),
  kernel: z.string(),
  initrd: z.string().optional(),
  append: z.string(),
  /** Monitors beside the agent's own, for whoever manages the host. */
  monitors: z.array(endpoint),
  extra: z.array(z.string()),
  /** For an audit: the VM that arrives is not started, and the one that left is kept as it was, so that both can be compared. */
  hold: z.boolean(),
});
export type Machine = z.infer<typeof machineSchema>;

/** How a QEMU is started: to boot, to wait for a migration, or to be restored. */
export type StartAs = "boot" | "incoming" | "restore";

const START_MS = 15_000;
/** Only for the agent's own process: a child's end is told by its exit, an adopted one's by its monitor. */
const LOOK_EVERY_MS = 50;

/** A QEMU of this host with its monitors. It outlives its agent; a restarted one adopts it. */
export class VmProcess {
  readonly folder: string;
  readonly pid: number;
  /**
   * Carries out-of-band commands only (QEMU-FACTS.md, "QMP"), and tells events. Its session outlives the agent: QEMU's
   * main thread may be waiting for a page, in a `stop` that an agent asked for before it died, and negotiate with nobody.
   */
  readonly oob: QmpClient;
  /** As its events tell it; empty before any migration. */
  migration = "";
  #qmp: QmpClient | undefined;
  #gone = false;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly exited: Promise<void>;
  #attached: Promise<void> = Promise.resolve();
  readonly #shim: boolean;
  readonly #ram_path: string;

  private constructor(folder: string, pid: number, oob: QmpClient, exited: Promise<void>, config: AgentConfig) {
    this.folder = folder;
    this.pid = pid;
    this.oob = oob;
    this.#shim = config.shim !== null;
    this.#ram_path = config.ram_path;
    this.exited = exited.then(() => {
      this.#gone = true;
      // FIFOs have no end that would tell.
      void oob[Symbol.asyncDispose]();
    });
  }

  /** The monitor for everything else. @throws Error while it is not connected */
  get qmp(): QmpClient {
    if (this.#qmp === undefined) throw new Error(`the monitor of QEMU in ${this.folder} does not answer yet`);
    return this.#qmp;
  }

  get gone(): boolean {
    return this.#gone;
  }

  static async start(config: AgentConfig, machine: Machine, number: number, as: StartAs): Promise<VmProcess> {
    const folder = folderOf(config, number);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const name of OUTPUT_CHANNELS) {
      execFileSync("mkfifo", [join(folder, `${name}.in`)]);
      writeFileSync(join(folder, `${name}.out`), "");
    }
    execFileSync("mkfifo", [join(folder, "oob.in"), join(folder, "oob.out")]);
    const { monitors, extra, hold, ...rest } = machine;
    const argv = qemuArgv({
      ...rest,
      ...(machine.initrd === undefined ? { initrd: undefined as never } : { initrd: machine.initrd }),
      ram_path: config.ram_path,
      qmp: [...monitors, { unix: join(folder, "qmp") }, { pipe: join(folder, "oob") }],
      serials: OUTPUT_CHANNELS.map((id) => ({ id, endpoint: { pipe: join(folder, id) } })),
      ...(as === "boot" ? {} : { incoming: "defer" }),
      paused: as === "restore" || (hold && as === "incoming"),
      extra,
    });
    const log = openSync(join(folder, "log"), "a");
    const shim =
      as === "incoming" && config.shim !== null
        ? { LD_PRELOAD: config.shim, FERRYMAN_UFFD_STATUS: join(folder, "uffd") }
        : {};
    const child = spawn(config.qemu, argv, {
      detached: true,
      stdio: ["ignore", log, log],
      env: { ...process.env, ...shim },
    });
    closeSync(log);
    child.unref();
    await once(child, "spawn");
    const pid = child.pid ?? -1;
    writeFileSync(join(folder, "pid"), String(pid));
    const ended = exitOf(child);
    // Connected first: it tells at once when QEMU ends instead of greeting.
    const qmp = await connectMonitor(folder, pid, ended, false);
    const oob = await QmpClient.connect(openFifos(join(folder, "oob")), { name: "QEMU oob" });
    const vm = new VmProcess(folder, pid, oob, ended, config);
    await vm.#attach(qmp);
    return vm;
  }

  /** The QEMU that an earlier life of this agent started; undefined where it is gone. */
  static async adopt(config: AgentConfig, folder: string, thaw = false): Promise<VmProcess | undefined> {
    try {
      const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
      if (!isQemu(pid, config.qemu, folder)) return undefined;
      if (thaw) signal(pid, "SIGCONT");
      const oob = QmpClient.resume(openFifos(join(folder, "oob")), { name: "QEMU oob" });
      const vm = new VmProcess(folder, pid, oob, monitored(pid), config);
      const paused = Promise.withResolvers<void>();
      oob.on((event) => {
        // From the moment the other monitor answers it is the one that tells.
        if (event.kind !== "migration" || vm.#qmp !== undefined) return;
        vm.migration = event.status;
        if (event.status === "postcopy-paused") paused.resolve();
      });
      const attached = connectMonitor(folder, pid, vm.exited, true).then((qmp) => vm.#attach(qmp));
      vm.#attached = attached;
      // Paused it may not answer before it is recovered, for which the other monitor is enough.
      await Promise.race([attached, paused.promise]);
      attached.catch(() => undefined);
      return vm;
    } catch {
      return undefined;
    }
  }

  /** Settles when QEMU's monitor answers. @throws Error when it never will */
  async attached(): Promise<void> {
    await this.#attached;
  }

  async #attach(qmp: QmpClient): Promise<void> {
    qmp.on((event) => {
      if (event.kind === "migration") this.migration = event.status;
      for (const listener of this.#listeners) listener(event);
    });
    const { status } = await qmp.execute("query-migrate");
    if (status !== undefined) this.migration = status;
    this.#qmp = qmp;
  }

  on(listener: (event: QmpEvent) => void): void {
    this.#listeners.add(listener);
  }

  get last_lines(): string {
    return lastLines(this.folder);
  }

  get shim_status_path(): string {
    return join(this.folder, "uffd");
  }

  get incoming_path(): string {
    return join(this.folder, "in");
  }

  async blocks(): Promise<readonly LocatedBlock[]> {
    await this.#attached;
    return await findBlocks({
      qmp: this.qmp,
      pid: this.pid,
      files: { [RAM_BLOCK]: this.#ram_path },
      ...(this.#shim ? { shim_status_path: this.shim_status_path } : {}),
    });
  }

  /** What somebody outside types into the guest. Bytes for which the guest has no room are lost, as on a line. */
  async type(channel: number, bytes: Uint8Array): Promise<void> {
    const name = OUTPUT_CHANNELS[channel];
    if (name === undefined || this.#gone) return;
    try {
      await using fifo = await open(join(this.folder, `${name}.in`), "r+");
      await fifo.write(bytes);
    } catch {
      // Gone meanwhile: then nobody reads it.
    }
  }

  /** It stands still where it is, whatever its monitors are told; its memory can be read. */
  freeze(): void {
    signal(this.pid, "SIGSTOP");
  }

  thaw(): void {
    signal(this.pid, "SIGCONT");
  }

  /** SIGKILL; when this returns it is gone. */
  async kill(): Promise<void> {
    signal(this.pid, "SIGKILL");
    await this.exited;
    await Promise.all([this.#qmp, this.oob].map((client) => client?.[Symbol.asyncDispose]().catch(() => undefined)));
  }
}

/**
 * @param ended settles when QEMU is gone
 * @param taken_over an earlier agent may have left it with a command under way
 */
async function connectMonitor(
  folder: string,
  pid: number,
  ended: Promise<void>,
  taken_over: boolean,
): Promise<QmpClient> {
  let dead = false;
  void ended.then(() => {
    dead = true;
  });
  const socket = await waitFor(
    { what: `the monitor of QEMU in ${folder}`, timeout_ms: START_MS, interval_ms: 2 },
    async () => {
      if (dead || !alive(pid)) throw new Error(`QEMU ended at once: ${lastLines(folder)}`);
      return await tryConnect(join(folder, "qmp"));
    },
  );
  return await QmpClient.connect(socket, {
    name: "QEMU qmp",
    greeting_timeout_ms: START_MS,
    taken_over,
    lastLines: () => [lastLines(folder)],
  });
}

/** Both ends of a `-chardev pipe`: opened for both ways each, so that neither side ever sees an end. */
function openFifos(path: string): Duplex {
  const open = (name: string): number => openSync(`${path}.${name}`, constants.O_RDWR | constants.O_NONBLOCK);
  const readable = new Socket({ fd: open("out"), readable: true, writable: false });
  const writable = new Socket({ fd: open("in"), readable: false, writable: true });
  return Duplex.from({ readable, writable });
}

export function folderOf(config: AgentConfig, number: number): string {
  return join(config.memory_folder, `qemu-${number}`);
}

/** Ends a QEMU that cannot be talked to. */
export async function killLeftover(config: AgentConfig, number: number): Promise<void> {
  try {
    const folder = folderOf(config, number);
    const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
    if (!isQemu(pid, config.qemu, folder)) return;
    signal(pid, "SIGKILL");
    await monitored(pid);
  } catch {
    // There never was one.
  }
}

function exitOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", () => resolve());
  });
}

/** Settles when a process that is not our child is gone. Whoever waits has nothing else to live for: the timer counts. */
function monitored(pid: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (alive(pid)) return;
      clearInterval(timer);
      resolve();
    }, LOOK_EVERY_MS);
  });
}

function stateOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  } catch {
    return undefined;
  }
}

function alive(pid: number): boolean {
  const state = stateOf(pid);
  return state !== undefined && state !== "Z" && state !== "X";
}

/** A pid may have been given to somebody else since. */
function isQemu(pid: number, qemu: string, folder: string): boolean {
  if (!Number.isSafeInteger(pid) || pid < 2 || !alive(pid)) return false;
  try {
    const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return argv.startsWith(qemu) && argv.includes(`${folder}/`);
  } catch {
    return false;
  }
}

function signal(pid: number, name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

function lastLines(folder: string): string {
  try {
    return readFileSync(join(folder, "log"), "utf8").trim().split("\n").slice(-6).join(" | ") || "it said nothing";
  } catch (error) {
    return messageOf(error);
  }
}
