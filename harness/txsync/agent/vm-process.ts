import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { waitFor } from "../../base/wait.ts";
import { qemuArgv, RAM_BLOCK, stateUri } from "../../qemu/command-line.ts";
import { QmpClient, type QmpEvent } from "../../qemu/qmp.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import { tryConnect } from "../../qemu/unix-socket.ts";
import { diskArgs } from "../device/disk-args.ts";
import { FileRoom, takeRoom } from "../device/file-room.ts";
import { CARD_NAME } from "../device/network-card.ts";
import { SERIAL_LINES } from "../device/serial-line.ts";
import { findBlocks } from "../dirty/find-blocks.ts";
import { type AgentConfig, diskNodes } from "./config.ts";
import type { Machine } from "./machine.ts";
import {
  alive,
  isProgram,
  lastLines,
  mainLoopGoesFirst,
  makeFifos,
  monitored,
  openFifos,
  processesOf,
  pushInto,
  signal,
} from "./process.ts";
import type { Starter } from "./starter.ts";

/**
 * How a QEMU is started: to boot, to wait for a migration, to be restored on a new RAM file; or to stand by on the base,
 * for the case that the VM has to be restored here.
 */
export type StartAs = "boot" | "incoming" | "restore" | "standby";

const START_MS = 15_000;
const ATTACH_AGAIN_MS = 500;
/** For all the memory of a VM to be read from a file. */
const BOOTED_MS = 120_000;
/** Of what QEMU says for itself (its standard output and error) so much is kept, and when it is four times as much the rest goes. */
const LOG_KEPT_BYTES = 2 ** 20;
/** For what a guest says on a serial line where its host has no room any more: that much is taken before. */
const LINE_ROOM_BYTES = 256 * 1024;

/** A QEMU of this host with its monitors. It outlives its agent; a restarted one adopts it. */
export class VmProcess {
  readonly folder: string;
  readonly pid: number;
  /** undefined: an earlier life of the agent started it. */
  readonly started_as: StartAs | undefined;
  /**
   * Carries out-of-band commands only (harness/qemu/FACTS.md, "QMP"), and tells events. Its session outlives the agent:
   * QEMU's main thread may be waiting for a page, in a `stop` that an agent asked for before it died, and negotiate with
   * nobody.
   */
  readonly oob: QmpClient;
  /** As its events tell it; empty before any migration. */
  migration = "";
  #qmp: QmpClient | undefined;
  #gone = false;
  #frozen = false;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly exited: Promise<void>;
  #attached: Promise<void> = Promise.resolve();
  /** Settles when it is known in which state of a migration it is; also where it cannot answer before it is recovered. */
  #known: Promise<void> = Promise.resolve();
  readonly #shim: boolean;
  readonly #log_room: FileRoom;
  readonly #ram_path: string;

  private constructor(
    what: { folder: string; pid: number; started_as: StartAs | undefined },
    oob: QmpClient,
    exited: Promise<void>,
    config: AgentConfig,
  ) {
    this.folder = what.folder;
    this.pid = what.pid;
    this.started_as = what.started_as;
    this.oob = oob;
    this.#shim = config.shim !== null;
    this.#log_room = new FileRoom(join(what.folder, "log"), 3 * LOG_KEPT_BYTES);
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

  static async start(
    config: AgentConfig,
    machine: Machine,
    number: number,
    as: StartAs,
    starter: Starter,
  ): Promise<VmProcess> {
    const folder = folderOf(config, number);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    for (const name of SERIAL_LINES) makeLine(config, folder, name);
    await makeFifos(
      starter,
      [...SERIAL_LINES.map((name) => `${name}.in`), "oob.in", "oob.out"].map((name) => join(folder, name)),
    );
    const { monitors, extra, hold, card, state, ...rest } = machine;
    const booted = as === "boot" ? state : undefined;
    const argv = qemuArgv({
      ...rest,
      ram_path: config.ram_path,
      qmp: [...monitors, { unix: join(folder, "qmp") }, { pipe: join(folder, "oob") }],
      serials: SERIAL_LINES.map((id) => ({ id, endpoint: { pipe: join(folder, id) } })),
      ...(as !== "boot" ? { incoming: "defer" } : booted === undefined ? {} : { incoming: stateUri(booted) }),
      ...(card === undefined ? {} : { card: { ...card, listen: { unix: join(folder, CARD_NAME) } } }),
      paused: as === "restore" || as === "standby" || (hold && as === "incoming"),
      extra: [...diskArgs(disksFolder(config), diskNodes(config), number, config.disks?.bus ?? "blk"), ...extra],
    });
    // Whatever it is started for, its pages may have to be tracked one day.
    const env = config.shim === null ? {} : { LD_PRELOAD: config.shim, FERRYMAN_UFFD_STATUS: join(folder, "uffd") };
    const { pid, exited } = await starter.start({ file: config.qemu, args: argv, log: join(folder, "log"), env });
    let ended = false;
    void exited.then(() => {
      ended = true;
    });
    try {
      writeFileSync(join(folder, "pid"), String(pid));
      // Connected first: it tells at once when QEMU ends instead of greeting.
      const qmp = await connectMonitor(folder, pid, exited, false);
      const oob = await QmpClient.connect(openFifos(join(folder, "oob")), { name: "QEMU oob" });
      const vm = new VmProcess({ folder, pid, started_as: as }, oob, exited, config);
      if (booted !== undefined) await comeUp(qmp);
      await vm.#attach(qmp);
      // What it has gone through by then is no migration of ours.
      if (booted !== undefined) vm.migration = "";
      // Few of QEMU's own announcements, for see `announce`. With none a reset of the VM would be QEMU's end
      // (harness/qemu/FACTS.md, "Looks like bugs").
      if (card !== undefined) await qmp.executeRaw("migrate-set-parameters", { "announce-rounds": 1 });
      void mainLoopGoesFirst(starter, config.pagescan, pid);
      void makeSpares(config);
      return vm;
    } catch (error) {
      // Nobody would know of it, and the next one gets the same memory.
      if (!ended) signal(pid, "SIGKILL");
      await exited;
      throw error;
    }
  }

  /**
   * The QEMU that an earlier life of this agent started; undefined only where it is gone. Returns at once: whether it
   * answers is seen later (`known`, `attached`), and one that does not answer for a moment is nobody's to be ended.
   * @throws Error when it is there and cannot be reached
   */
  static adopt(config: AgentConfig, folder: string, thaw = false): VmProcess | undefined {
    const pid = pidOf(folder);
    if (pid === undefined || !isProgram(pid, config.qemu, folder)) return undefined;
    if (thaw) signal(pid, "SIGCONT");
    const oob = QmpClient.resume(openFifos(join(folder, "oob")), { name: "QEMU oob" });
    const vm = new VmProcess({ folder, pid, started_as: undefined }, oob, monitored(pid), config);
    const paused = Promise.withResolvers<void>();
    oob.on((event) => {
      // From the moment the other monitor answers it is the one that tells.
      if (event.kind !== "migration" || vm.#qmp !== undefined) return;
      vm.migration = event.status;
      if (event.status === "postcopy-paused") paused.resolve();
    });
    vm.#attached = vm.#attachAgain();
    vm.#attached.catch(() => undefined);
    // Paused it may not answer before it is recovered, for which the other monitor is enough.
    vm.#known = Promise.race([vm.#attached, paused.promise]);
    vm.#known.catch(() => undefined);
    return vm;
  }

  /** One that does not answer for long is tried for as long as it lives. */
  async #attachAgain(): Promise<void> {
    for (;;) {
      try {
        await this.#attach(await connectMonitor(this.folder, this.pid, this.exited, true));
        return;
      } catch (error) {
        if (this.#gone || !alive(this.pid)) throw error;
        await delay(ATTACH_AGAIN_MS);
      }
    }
  }

  /** Settles when QEMU's monitor answers. @throws Error when it never will */
  async attached(): Promise<void> {
    await this.#attached;
  }

  /** Settles when `migration` says how it stands with it. @throws Error when it never will */
  async known(): Promise<void> {
    await this.#known;
  }

  async #attach(qmp: QmpClient): Promise<void> {
    qmp.on((event) => {
      if (event.kind === "migration") this.migration = event.status;
      for (const listener of [...this.#listeners]) listener(event);
    });
    const { status } = await qmp.execute("query-migrate");
    if (status !== undefined) this.migration = status;
    this.#qmp = qmp;
  }

  /** @returns what ends the listening */
  on(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  get last_lines(): string {
    return lastLines(this.folder);
  }

  /** @returns whether something was cut off the beginning of its log, for it had become long */
  async boundLog(): Promise<boolean> {
    try {
      return await this.#log_room.free(statSync(join(this.folder, "log")).size - LOG_KEPT_BYTES);
    } catch {
      // The folder goes with its QEMU.
      return false;
    }
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
  type(channel: number, bytes: Uint8Array): void {
    const name = SERIAL_LINES[channel];
    if (name !== undefined && !this.#gone) pushInto(join(this.folder, `${name}.in`), bytes);
  }

  /** The VM is here now: switches on the way learn it. */
  async announce(): Promise<void> {
    await this.qmp.executeRaw("announce-self", { initial: 50, max: 100, rounds: 1, step: 50 });
  }

  /** It stands still where it is, whatever its monitors are told, by whomever; its memory can be read. */
  freeze(): void {
    if (this.#frozen) return;
    this.#frozen = true;
    if (!this.#gone) signal(this.pid, "SIGSTOP");
  }

  /** Where it was frozen here: one that somebody else has stopped is not ours to let go on. */
  thaw(): void {
    if (this.#frozen && !this.#gone) signal(this.pid, "SIGCONT");
    this.#frozen = false;
  }

  /** SIGKILL; when this returns it is gone. */
  async kill(): Promise<void> {
    // Its number may be another process's by now.
    if (!this.#gone) signal(this.pid, "SIGKILL");
    await this.exited;
    await Promise.all([this.#qmp, this.oob].map((client) => client?.[Symbol.asyncDispose]().catch(() => undefined)));
  }
}

/** Waits until a VM that begins as it had booted has all of it, and runs. */
async function comeUp(qmp: QmpClient): Promise<void> {
  await waitFor({ what: "the VM to be as it had booted", timeout_ms: BOOTED_MS }, async () =>
    (await qmp.execute("query-status")).running ? true : undefined,
  );
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

const spareOf = ({ memory_folder }: AgentConfig, name: string): string => join(memory_folder, `${name}.spare`);

/** The file that QEMU writes a serial line into: one that has room already, where there is one. */
function makeLine(config: AgentConfig, folder: string, name: string): void {
  const path = join(folder, `${name}.out`);
  try {
    renameSync(spareOf(config, name), path);
  } catch {
    writeFileSync(path, "");
  }
}

/**
 * Files for the serial lines of the next QEMU, which may have to be started where there is no room any more: without it a
 * VM that is restored would be mute. Where there is none they are not made.
 */
export async function makeSpares(config: AgentConfig): Promise<void> {
  for (const name of SERIAL_LINES) {
    const [path, making] = [spareOf(config, name), `${spareOf(config, name)}.new`];
    if (existsSync(path)) continue;
    try {
      writeFileSync(making, "");
      await takeRoom([making], LINE_ROOM_BYTES);
      renameSync(making, path);
    } catch {
      rmSync(making, { force: true });
    }
  }
}

/** Of the daemon that serves the VM's disks on this host. */
export function disksFolder({ memory_folder }: Pick<AgentConfig, "memory_folder">): string {
  return join(memory_folder, "disks");
}

export function folderOf(config: AgentConfig, number: number): string {
  return join(config.memory_folder, `qemu-${number}`);
}

function pidOf(folder: string): number | undefined {
  try {
    return Number(readFileSync(join(folder, "pid"), "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Ends a QEMU that nobody may talk to any more. It is looked for among the processes: an agent that died as it started one
 * may not have come to note its number.
 */
export async function killLeftover(config: AgentConfig, number: number): Promise<void> {
  for (const pid of processesOf(config.qemu, folderOf(config, number))) {
    signal(pid, "SIGKILL");
    await monitored(pid);
  }
}
