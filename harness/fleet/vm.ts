import type { Duplex } from "node:stream";
import { UserError } from "../base/errors.ts";
import type { Emit } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import { type MachineSpec, qemuArgv, stateUri } from "../qemu/command-line.ts";
import { QmpClient } from "../qemu/qmp.ts";
import type { StartedHost } from "./host.ts";
import { MANAGEMENT_NAME, PORTS } from "./ports.ts";
import type { OutputName } from "./process.ts";

/** Where a VM's logs go: the name tells what it is ("qemu", "qmp", "console"). */
export type LogSink = (name: string, line: string) => void;

/** What QEMU is asked for, whichever host it is on. */
export interface VmMachine {
  readonly accel: "tcg" | "kvm";
  readonly machine: string;
  readonly vcpus: number;
  readonly cpu?: string;
  readonly ram: "file" | "memfd" | "hugetlbfs";
  /** Its network card; absent: it has none. */
  readonly card?: { readonly model: string; readonly mac: string };
  /** Further arguments of QEMU. */
  readonly extra: readonly string[];
  readonly memory_bytes: number;
  /** What it boots; absent: what its firmware finds on its disks. */
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  /** A file on the host with the state of a VM that has booted: it goes on from there instead. */
  readonly state?: string;
}

export interface VmSpec extends VmMachine {
  /** Waits for a migration instead of booting. */
  readonly incoming: boolean;
  /** Does not run until told to (-S). */
  readonly paused: boolean;
  readonly qemu_binary: string;
  readonly version_text: string;
  readonly emit: Emit;
  readonly log: LogSink;
  /** A line of the guest's console. */
  readonly onConsole: (line: string) => void;
}

/** The file in a host's memory that is the guest's RAM, where that is a file. */
export const RAM_PATH = "/dev/shm/ferryman-ram";

const COM2_MS = 500;
/** The kernel takes 30 to 300 ms to give a gigabyte of a guest's memory back, and several seconds where all are busy. */
const FREE_MS = 60_000;

type Monitor = "control" | "oob" | "watch";
/** Published ports on which a QEMU of a host has its monitors: commands, out-of-band commands, watching. */
export const MONITOR_PORTS: Record<Monitor, number> = {
  control: PORTS.qmp_control,
  oob: PORTS.qmp_oob,
  watch: PORTS.qmp_watch,
};

/** The process of a QEMU on a host, whoever started it. */
export interface QemuProcess extends Disposable {
  /** Pid inside the host. */
  readonly pid: number;
  readonly gone: boolean;
  readonly exited: Promise<number | null>;
  lastLines(count?: number): readonly string[];
}

/** A QEMU on a host, with a monitor for commands, one for out-of-band ones, one to watch. */
export class StartedVm implements AsyncDisposable {
  readonly host: StartedHost;
  readonly process: QemuProcess;
  /** Opens the guest's second serial line. */
  readonly com2: () => Promise<Duplex>;
  readonly control: QmpClient;
  readonly oob: QmpClient;
  readonly watch: QmpClient;
  /** Where the guest's RAM can be read on the host. */
  readonly ram_path: string;

  #running: boolean;

  private constructor(
    host: StartedHost,
    started: QemuProcess,
    monitors: Record<Monitor, QmpClient>,
    com2: () => Promise<Duplex>,
    ram_path: string,
    running: boolean,
  ) {
    this.host = host;
    this.ram_path = ram_path;
    this.#running = running;
    monitors.watch.on((event) => {
      if (event.kind === "resume") this.#running = true;
      if (event.kind === "stop") this.#running = false;
    });
    this.process = started;
    this.com2 = com2;
    this.control = monitors.control;
    this.oob = monitors.oob;
    this.watch = monitors.watch;
  }

  static async start(host: StartedHost, spec: VmSpec): Promise<StartedVm> {
    if (spec.ram === "file") await makeRoom(host, spec.memory_bytes);
    const argv = [spec.qemu_binary, ...qemuArgv(machineOf(host, spec))];
    const started = await host.spawn(argv);
    started.onLine((line, output: OutputName) => {
      if (output === "stdout") spec.onConsole(line);
      spec.log(output === "stdout" ? "console" : "qemu", line);
      if (output === "stderr") spec.emit(host.role, { kind: "log", stream: "qemu", line });
    });
    spec.emit(host.role, { kind: "qemu.started", pid: started.pid, version: spec.version_text, argv });
    void started.exited.then((code) =>
      spec.emit(host.role, { kind: "qemu.exited", code, last_lines: started.lastLines(6) }),
    );
    const com2 = (): Promise<Duplex> => host.connect(PORTS.com2, COM2_MS);
    const { emit, log } = spec;
    return await StartedVm.adopt(host, started, {
      emit,
      log,
      com2,
      ...(spec.ram === "file" ? {} : { findRam: () => memfdOf(host, started.pid) }),
    });
  }

  /** Connects to the monitors of a QEMU that runs already; what it tells on them goes onto the timeline. */
  static async adopt(
    host: StartedHost,
    started: QemuProcess,
    what: Pick<VmSpec, "emit" | "log"> & {
      readonly com2: () => Promise<Duplex>;
      /** Where the guest's RAM is, once QEMU answers; absent: RAM_PATH. */
      readonly findRam?: () => Promise<string>;
    },
  ): Promise<StartedVm> {
    const { emit, log, com2, findRam } = what;
    const monitors: QmpClient[] = [];
    try {
      const open = async (monitor: Monitor): Promise<QmpClient> => {
        const client = await connectMonitor(host, started, monitor, log);
        monitors.push(client);
        return client;
      };
      const [control, oob, watch] = await Promise.all([open("control"), open("oob"), open("watch")]);
      const { pid } = started;
      watch.on(({ name, data, at_ms }) =>
        emit(host.role, { kind: "qmp.event", event: name, data, pid, qemu_ms: at_ms }),
      );
      // What it does between its answer and the next listener counts: under load both may come in one piece.
      let told: boolean | undefined;
      const stopListening = watch.on((event) => {
        if (event.kind === "resume") told = true;
        if (event.kind === "stop") told = false;
      });
      const answer = await watch.execute("query-status");
      const running = told ?? answer.running;
      emit(host.role, { kind: "qemu.status", pid, running });
      const ram_path = findRam === undefined ? RAM_PATH : await findRam();
      const vm = new StartedVm(host, started, { control, oob, watch }, com2, ram_path, running);
      stopListening();
      return vm;
    } catch (error) {
      for (const monitor of monitors) await monitor[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Whether its vCPUs run, by its own STOP and RESUME. Memory that changes while they do not is changed by somebody else:
   * an agent lays committed transactions over the base, on which a QEMU stands by.
   */
  get running(): boolean {
    return this.#running;
  }

  /** Whether the process lives on a host that lives. */
  get alive(): boolean {
    return !this.process.gone && !this.host.gone;
  }

  /** Ends QEMU, politely or not, and forgets its RAM file. */
  async quit(): Promise<void> {
    if (this.alive && this.host.up) {
      await this.host.run(
        `kill -9 ${this.process.pid} 2>/dev/null; while kill -0 ${this.process.pid} 2>/dev/null; do sleep 0.01; done; rm -f ${RAM_PATH}`,
        FREE_MS,
      );
    }
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.control, this.oob, this.watch].map((client) => client[Symbol.asyncDispose]()));
    this.process[Symbol.dispose]();
  }
}

/**
 * Removes the RAM file of an earlier VM and looks whether there is room for the next one.
 * @throws UserError where there is not: QEMU would start, and die with a bus error when the guest touches its memory.
 */
async function makeRoom(host: StartedHost, memory_bytes: number): Promise<void> {
  const free = Number(await host.run(`rm -f ${RAM_PATH} && df --output=avail -B1 /dev/shm | tail -1`, FREE_MS));
  if (free >= memory_bytes) return;
  const mib = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)} MiB`;
  throw new UserError(
    `/dev/shm on ${host.role} has ${mib(free)} free, and the guest's memory takes ${mib(memory_bytes)}: ask for less with --memory.`,
  );
}

/** RAM without a name is found among what QEMU holds open (QEMU: backends/hostmem-memfd.c, memfd_backend_memory_alloc). */
async function memfdOf(host: StartedHost, pid: number): Promise<string> {
  const find = `for fd in /proc/${pid}/fd/*; do case "$(readlink $fd)" in /memfd:memory-backend-memfd*) echo $fd;; esac; done`;
  const [found, ...more] = (await host.run(find)).trim().split("\n");
  if (!found || more.length > 0)
    throw new Error(`QEMU on ${host.role} holds no memfd for the guest's memory, or several`);
  return found;
}

/** The part of a VM's description that does not depend on where it runs. */
export function machineSpecOf(name: string, spec: VmMachine): Omit<MachineSpec, "qmp" | "serials" | "paused"> {
  return {
    name,
    accel: spec.accel,
    machine: spec.machine,
    memory_bytes: spec.memory_bytes,
    ram_path: RAM_PATH,
    ram: spec.ram,
    ...(spec.cpu === undefined ? {} : { cpu: spec.cpu }),
    smp: spec.vcpus,
    ...(spec.kernel === undefined ? {} : { kernel: spec.kernel }),
    ...(spec.initrd === undefined ? {} : { initrd: spec.initrd }),
    ...(spec.append === undefined ? {} : { append: spec.append }),
    extra: spec.extra,
  };
}

function machineOf(host: StartedHost, spec: VmSpec): MachineSpec {
  const listen = (port: number) => ({ host: MANAGEMENT_NAME, port }) as const;
  return {
    ...machineSpecOf(`ferryman-${host.role}`, spec),
    qmp: Object.values(MONITOR_PORTS).map(listen),
    serials: [
      { id: "com1", endpoint: "stdio" },
      { id: "com2", endpoint: listen(PORTS.com2) },
    ],
    ...(spec.card === undefined ? {} : { card: { ...spec.card, listen: listen(PORTS.card) } }),
    ...(spec.incoming ? { incoming: "defer" } : spec.state === undefined ? {} : { incoming: stateUri(spec.state) }),
    paused: spec.paused,
  };
}

/** QEMU opens its monitors some time after it was started; until then a connection is closed without a greeting. */
async function connectMonitor(
  host: StartedHost,
  started: QemuProcess,
  monitor: Monitor,
  log: LogSink,
): Promise<QmpClient> {
  const name = `${host.role}/${monitor}`;
  return waitFor(
    {
      what: `the ${monitor} monitor of QEMU on ${host.role}`,
      // It fills no memory before: this knows nothing of the guest's size.
      timeout_ms: 15_000,
      lastLines: () => started.lastLines(),
    },
    async () => {
      if (started.gone) {
        throw new Error(`QEMU on ${host.role} exited at once: ${started.lastLines().join(" | ") || "no output"}`);
      }
      try {
        return await QmpClient.connect(await host.connect(MONITOR_PORTS[monitor]), {
          name,
          onTraffic: (direction, line) => log("qmp", `${direction === "out" ? "->" : "<-"} ${monitor} ${line}`),
          lastLines: () => started.lastLines(),
        });
      } catch {
        return undefined;
      }
    },
  );
}
