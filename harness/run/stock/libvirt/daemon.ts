import { randomUUID } from "node:crypto";
import type { Emit } from "../../../base/timeline.ts";
import { waitFor, within } from "../../../base/wait.ts";
import type { StartedHost } from "../../../fleet/host.ts";
import type { HostProcess } from "../../../fleet/process.ts";
import type { LogSink } from "../../../fleet/vm.ts";
import { DOMAIN, MEMORY_FOLDER } from "./domain.ts";
import { askFor } from "./virsh.ts";

const SOCKET = "/run/libvirt/libvirt-sock";
const EVENTS = ["virsh", "--connect", "qemu:///system", "event", "--all", "--loop"];
/** Its socket is there after some tens of milliseconds; a first start reads everything from the disk. */
const UP_MS = 15_000;
/** For a command that waits for nothing. */
const ANSWER_MS = 5_000;
/** As often as systemd starts a service again that fails (DefaultLimitBurst), and how long it waits before (RestartSec). */
const RESTARTS_MAX = 5;
const RESTART_AFTER_MS = 100;

/**
 * libvirtd on one host, and what it believes. Where it dies by itself it is started again, as its unit has systemd do
 * (libvirtd.service: Restart=on-failure); where a fault killed it, only when that is healed.
 */
export class LibvirtDaemon {
  readonly #host: StartedHost;
  readonly #emit: Emit;
  readonly #log: LogSink;
  #process: HostProcess | undefined;
  #events: HostProcess | undefined;
  #held = false;
  #restarts = 0;
  #given_up = false;
  #state = "none";
  #looking: Promise<void> = Promise.resolve();
  #look_again = false;
  #closed = false;

  constructor(host: StartedHost, emit: Emit, log: LogSink) {
    this.#host = host;
    this.#emit = emit;
    this.#log = log;
  }

  /** What it took the VM for when it was asked last: "running (booted)"; "none" where it has none, "?" where it does not answer. */
  get state(): string {
    return this.#state;
  }

  /** Whether it ended by itself so often that nobody starts it any more. */
  get given_up(): boolean {
    return this.#given_up;
  }

  get alive(): boolean {
    return this.#process?.gone === false && !this.#host.gone;
  }

  /** Writes what is this host's own, and starts it. @throws Error when it does not come up */
  async install(): Promise<void> {
    await this.#host.run(
      `echo 'host_uuid = "${randomUUID()}"' >> /etc/libvirt/libvirtd.conf; mkdir -p ${MEMORY_FOLDER} /run/ferryman`,
    );
    await this.start();
  }

  /** @throws Error when it does not come up */
  async start(): Promise<void> {
    this.#held = false;
    if (this.alive) return;
    const host = this.#host;
    // One that was killed leaves its socket behind.
    await host.run(`rm -f ${SOCKET} ${SOCKET}-ro`);
    const process = await host.spawn(["libvirtd", "--listen"]);
    this.#process = process;
    process.onLine((line) => this.#log("libvirtd", line));
    this.#given_up = false;
    void process.exited.then((code) => this.#onExit(process, code));
    await waitFor(
      { what: `libvirtd on ${host.role}`, timeout_ms: UP_MS, lastLines: () => process.lastLines() },
      async () => {
        if (process.gone) throw new Error(`libvirtd on ${host.role} ended at once`);
        return (await host.run(`test -S ${SOCKET} && echo there || true`)).trim() === "there" ? true : undefined;
      },
    );
    const version = await askFor(host, ["version", "--daemon"], () => undefined, UP_MS);
    const [, libvirt = "?"] = /Running against daemon: (\S+)/.exec(version.said) ?? [];
    this.#emit(host.role, { kind: "manager.started", what: `libvirtd ${libvirt}`, pid: process.pid });
    await this.#listen();
  }

  async #listen(): Promise<void> {
    const events = await this.#host.spawn(EVENTS);
    this.#events = events;
    events.onLine((line) => {
      if (this.#closed || !line.startsWith("event ")) return;
      const text = line.replace(/ for domain '[^']*':/, "").replace(/^event /, "");
      this.#emit(this.#host.role, { kind: "manager.event", text });
      if (text.startsWith("'lifecycle'")) this.look();
    });
  }

  #onExit(process: HostProcess, code: number | null): void {
    if (this.#closed) return;
    const last_lines = process.lastLines(4);
    this.#emit(this.#host.role, { kind: "manager.exited", what: "libvirtd", code, last_lines });
    this.#tell("?");
    if (this.#held || this.#host.gone || code === 0) return;
    if (this.#restarts >= RESTARTS_MAX) {
      this.#given_up = true;
      this.#note(`libvirtd ended ${RESTARTS_MAX + 1} times by itself: it is not started again, as systemd would not`);
      return;
    }
    this.#restarts += 1;
    this.#note("libvirtd ended by itself: it is started again, as systemd would");
    setTimeout(() => {
      if (this.#closed || this.#held || this.#host.gone) return;
      this.start().catch((error: unknown) => this.#note(`libvirtd does not start again: ${String(error)}`));
    }, RESTART_AFTER_MS);
  }

  #note(text: string): void {
    this.#emit(this.#host.role, { kind: "run.note", text });
  }

  /** SIGKILL; it stays away until it is started. @throws Error when it does not run */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process === undefined || process.gone) throw new Error(`libvirtd does not run on ${this.#host.role}`);
    this.#held = true;
    await this.#host.run(`kill -9 ${process.pid}`);
  }

  /** As an operator does where it waits for what it will never be told. @throws Error when it does not come up */
  async restart(): Promise<void> {
    const process = this.#process;
    await this.kill();
    if (process !== undefined)
      await within({ what: `libvirtd on ${this.#host.role} to end`, timeout_ms: UP_MS }, process.exited);
    await this.start();
  }

  /** Asks it what it takes the VM for; several that are asked for at a time are one. */
  look(): void {
    if (this.#look_again) return;
    this.#look_again = true;
    this.#looking = this.#looking.then(async () => {
      this.#look_again = false;
      if (this.#closed || !this.alive || !this.#host.up) return;
      const { code, said } = await askFor(this.#host, ["domstate", "--reason", DOMAIN], () => undefined, ANSWER_MS);
      if (code === 0) this.#tell(said);
      else this.#tell(/failed to get domain|not found/i.test(said) ? "none" : "?");
    });
  }

  /** Waits for what was asked last. */
  async looked(): Promise<void> {
    this.look();
    await this.#looking;
  }

  #tell(state: string): void {
    if (this.#closed || state === this.#state) return;
    this.#state = state;
    this.#emit(this.#host.role, { kind: "manager.state", state });
  }

  /** Whatever it does from now on is nobody's business. */
  close(): void {
    this.#closed = true;
    this.#process?.[Symbol.dispose]();
    this.#events?.[Symbol.dispose]();
  }
}
