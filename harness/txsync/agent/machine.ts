import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import * as z from "zod";
import { messageOf } from "../../base/errors.ts";
import { waitFor } from "../../base/wait.ts";
import { qemuArgv, RAM_BLOCK } from "../../qemu/command-line.ts";
import { QmpClient, type QmpEvent } from "../../qemu/qmp.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
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
  readonly qmp: QmpClient;
  /** Carries out-of-band commands only (QEMU-FACTS.md, "QMP"). */
  readonly oob: QmpClient;
  /** As its events tell it; empty before any migration. */
  migration = "";
  #gone = false;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly exited: Promise<void>;
  readonly #shim: boolean;
  readonly #ram_path: string;

  private constructor(
    folder: string,
    pid: number,
    qmp: QmpClient,
    oob: QmpClient,
    exited: Promise<void>,
    config: AgentConfig,
  ) {
    this.folder = folder;
    this.pid = pid;
    this.qmp = qmp;
    this.oob = oob;
    this.#shim = config.shim !== null;
    this.#ram_path = config.ram_path;
    this.exited = exited.then(() => {
      this.#gone = true;
    });
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
    const { monitors, extra, hold, ...rest } = machine;
    const argv = qemuArgv({
      ...rest,
      ...(machine.initrd === undefined ? { initrd: undefined as never } : { initrd: machine.initrd }),
      ram_path: config.ram_path,
      qmp: [...monitors, { unix: join(folder, "qmp") }, { unix: join(folder, "oob") }],
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
    return await VmProcess.#attach(config, folder, pid, exitOf(child));
  }

  /** The QEMU that an earlier life of this agent started; undefined where it is gone. */
  static async adopt(config: AgentConfig, folder: string): Promise<VmProcess | undefined> {
    try {
      const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
      if (!isQemu(pid, config.qemu, folder)) return undefined;
      return await VmProcess.#attach(config, folder, pid, undefined);
    } catch {
      return undefined;
    }
  }

  static async #attach(
    config: AgentConfig,
    folder: string,
    pid: number,
    exit: Promise<void> | undefined,
  ): Promise<VmProcess> {
    let dead = false;
    void exit?.then(() => {
      dead = true;
    });
    const connect = async (name: string): Promise<QmpClient> => {
      const socket = await waitFor(
        { what: `the monitor of QEMU in ${folder}`, timeout_ms: START_MS, interval_ms: 2 },
        async () => {
          if (dead || !alive(pid)) throw new Error(`QEMU ended at once: ${lastLines(folder)}`);
          const attempt = createConnection(join(folder, name));
          try {
            await once(attempt, "connect");
            return attempt;
          } catch {
            attempt.destroy();
            return undefined;
          }
        },
      );
      return await QmpClient.connect(socket, { name: `QEMU ${name}`, lastLines: () => [lastLines(folder)] });
    };
    const [qmp, oob] = await Promise.all([connect("qmp"), connect("oob")]);
    const ended = exit ?? monitored(pid);
    const vm = new VmProcess(folder, pid, qmp, oob, ended, config);
    qmp.on((event) => {
      if (event.kind === "migration") vm.migration = event.status;
      for (const listener of vm.#listeners) listener(event);
    });
    const { status } = await qmp.execute("query-migrate");
    if (status !== undefined && vm.migration === "") vm.migration = status;
    return vm;
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
    await Promise.all([this.qmp, this.oob].map((client) => client[Symbol.asyncDispose]().catch(() => undefined)));
  }
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
