import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createConnection } from "node:net";
import type { Accel } from "../base/run-record.ts";
import { waitFor } from "../base/wait.ts";
import { LedgerClient } from "../guests/integrity/ledger-client.ts";
import { qemuArgv } from "../qemu/command-line.ts";
import { QmpClient } from "../qemu/qmp.ts";
import { tryConnect } from "../qemu/unix-socket.ts";

export interface DrillMachineOptions {
  readonly name: string;
  readonly qemu: string;
  readonly accel: Accel;
  readonly memory_bytes: number;
  readonly kernel: string;
  readonly append: string;
  readonly ram_path: string;
  /** For sockets and the shim's status file. */
  readonly folder: string;
  readonly incoming: boolean;
  /** Path of the preloaded library, where the kernel is to note changed pages. */
  readonly shim?: string;
}

function uffdStatusPath(options: DrillMachineOptions): string {
  return `${options.folder}/${options.name}.uffd`;
}

/** A QEMU of the drill, started here, with its monitor. Its RAM file goes with it. */
export class DrillMachine implements AsyncDisposable {
  readonly options: DrillMachineOptions;
  readonly qmp: QmpClient;
  readonly pid: number;
  /** As its events tell it; empty before any migration. */
  migration = "";
  readonly #child: ChildProcess;
  #ledger: LedgerClient | undefined;

  private constructor(options: DrillMachineOptions, child: ChildProcess, pid: number, qmp: QmpClient) {
    this.options = options;
    this.#child = child;
    this.pid = pid;
    this.qmp = qmp;
  }

  static async start(options: DrillMachineOptions): Promise<DrillMachine> {
    const qmp_path = `${options.folder}/${options.name}.qmp`;
    const argv = qemuArgv({
      name: options.name,
      accel: options.accel,
      machine: "q35",
      memory_bytes: options.memory_bytes,
      ram_path: options.ram_path,
      kernel: options.kernel,
      append: options.append,
      qmp: [{ unix: qmp_path }],
      serials: [
        { id: "com1", endpoint: { file: `${options.folder}/${options.name}.com1` } },
        { id: "com2", endpoint: { unix: `${options.folder}/${options.name}.com2` } },
      ],
      ...(options.incoming ? { incoming: "defer" } : {}),
      paused: options.incoming,
    });
    const lines: string[] = [];
    const child = spawn(options.qemu, argv, {
      stdio: ["ignore", "ignore", "pipe"],
      env: {
        ...process.env,
        ...(options.shim === undefined
          ? {}
          : { LD_PRELOAD: options.shim, FERRYMAN_UFFD_STATUS: uffdStatusPath(options) }),
      },
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      lines.push(...chunk.toString().split("\n").filter(Boolean));
      process.stderr.write(`${options.name}: ${chunk}`);
    });
    await once(child, "spawn");
    const socket = await waitFor(
      { what: `the monitor of ${options.name}`, timeout_ms: 15_000, interval_ms: 2, lastLines: () => lines.slice(-6) },
      async () => {
        if (child.exitCode !== null) throw new Error(`${options.name} exited at once: ${lines.join(" | ")}`);
        return await tryConnect(qmp_path);
      },
    );
    const qmp = await QmpClient.connect(socket, { name: options.name, lastLines: () => lines.slice(-6) });
    const machine = new DrillMachine(options, child, child.pid ?? -1, qmp);
    qmp.on((event) => {
      if (event.kind === "migration") machine.migration = event.status;
    });
    return machine;
  }

  /** Written by the preloaded library, where there is one. */
  get uffd_status_path(): string {
    return uffdStatusPath(this.options);
  }

  async ledger(): Promise<LedgerClient> {
    if (this.#ledger === undefined) {
      const socket = createConnection(`${this.options.folder}/${this.options.name}.com2`);
      await once(socket, "connect");
      this.#ledger = new LedgerClient(socket, { client: this.pid, timeout_ms: 20_000 });
    }
    return this.#ledger;
  }

  async untilMigration(...statuses: string[]): Promise<string> {
    return await waitFor(
      { what: `${this.options.name} to report ${statuses.join(" or ")}`, timeout_ms: 30_000, interval_ms: 1 },
      () => (statuses.includes(this.migration) ? this.migration : undefined),
    );
  }

  /** SIGKILL, and gone when this returns. */
  async kill(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, "exit");
      this.#child.kill("SIGKILL");
      await exited;
    }
    await this.qmp[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.options.ram_path, { force: true });
  }
}
