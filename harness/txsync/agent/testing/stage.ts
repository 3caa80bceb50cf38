import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TimelineEventBody } from "../../../base/timeline.ts";
import { waitFor } from "../../../base/wait.ts";
import type { QmpEvent } from "../../../qemu/qmp.ts";
import type { LocatedBlock } from "../../../qemu/ram-blocks.ts";
import { type AgentState, type EventBody, frameNumber, initialState, type Role } from "../../core/index.ts";
import type { DataCalls } from "../../data/index.ts";
import { type AgentConfig, coreConfig } from "../config.ts";
import type { Machine } from "../machine.ts";
import type { Shell } from "../shell.ts";
import type { StartAs, VmProcess } from "../vm-process.ts";

type Answer = (args: Record<string, unknown>, time: number) => unknown;
type Ask = (command: string, args?: Record<string, unknown>) => Promise<unknown>;

interface Monitor {
  readonly execute: Ask;
  readonly executeRaw: Ask;
  readonly on: VmProcess["on"];
}

/** A QEMU that is played: its monitor says what a test has it say, and nothing runs. */
export class ScriptedVm {
  readonly folder: string;
  readonly pid = process.pid;
  readonly started_as: StartAs | undefined;
  migration = "";
  gone = false;
  /** What it was told, monitors and signals, in order. */
  readonly said: string[] = [];
  /** By command; one that throws is a refusal, one that never settles is silence. Others are answered with nothing. */
  readonly answers = new Map<string, Answer>();
  ram: readonly LocatedBlock[] = [];
  /** Whether its VM runs, where no answer says otherwise: `stop` and `cont` change it, as they do a real one. */
  runs = true;
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  readonly #end = Promise.withResolvers<void>();
  readonly exited = this.#end.promise;
  readonly qmp: Monitor;
  readonly oob: Monitor;
  attaching: Promise<void> = Promise.resolve();

  constructor(folder: string, started_as?: StartAs) {
    this.folder = folder;
    this.started_as = started_as;
    mkdirSync(folder, { recursive: true });
    this.qmp = { execute: this.ask, executeRaw: this.ask, on: (listener) => this.on(listener) };
    this.oob = this.qmp;
  }

  /** For the parts that want a real one. */
  get as(): VmProcess {
    return this as unknown as VmProcess;
  }

  readonly ask = async (command: string, args: Record<string, unknown> = {}): Promise<unknown> => {
    this.said.push(command);
    if (this.gone) throw new Error("the connection ended");
    if (this.frozen) throw new Error(`${command}: it is frozen, and answers nobody`);
    const answer = (await this.answers.get(command)?.(args, this.times(command))) ?? this.#status(command);
    if (command === "stop" || command === "cont") this.lets(command === "cont");
    return answer;
  };

  #status(command: string): unknown {
    return command === "query-status" ? { running: this.runs, status: this.runs ? "running" : "paused" } : {};
  }

  /** It runs or stands from now on, and says so where that is new; by whoever's word. */
  lets(runs: boolean): void {
    if (this.runs === runs) return;
    this.runs = runs;
    this.tell({ kind: runs ? "resume" : "stop" });
  }

  times(command: string): number {
    return this.said.filter((other) => other === command).length;
  }

  get incoming_path(): string {
    return join(this.folder, "in");
  }

  get shim_status_path(): string {
    return join(this.folder, "uffd");
  }

  get last_lines(): string {
    return "";
  }

  /** Its migration is in this state now, and it says so. */
  becomes(status: string): void {
    this.migration = status;
    this.tell({ kind: "migration", status });
  }

  tell(event: { readonly kind: string; readonly status?: string }): void {
    const whole = { name: "", data: {}, at_ms: 0, ...event } as unknown as QmpEvent;
    for (const listener of [...this.#listeners]) listener(whole);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  on(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async blocks(): Promise<readonly LocatedBlock[]> {
    return this.ram;
  }

  async known(): Promise<void> {
    await this.attaching;
  }

  async attached(): Promise<void> {
    await this.attaching;
  }

  frozen = false;
  freeze(): void {
    if (this.frozen) return;
    this.frozen = true;
    this.said.push("SIGSTOP");
  }

  thaw(): void {
    if (this.frozen) this.said.push("SIGCONT");
    this.frozen = false;
  }

  /** It ends, told to or not. */
  end(): void {
    this.gone = true;
    this.#end.resolve();
  }

  async kill(): Promise<void> {
    this.said.push("SIGKILL");
    this.end();
  }
}

/** A data plane that answers what a test says: late, never, with an error. Else at once, with nothing. */
export class ScriptedData {
  readonly asked: [call: keyof DataCalls, what: unknown][] = [];
  readonly answers = new Map<keyof DataCalls, (what: never, time: number) => unknown>();

  on<K extends keyof DataCalls>(call: K, answer: (what: Parameters<DataCalls[K]>[0], time: number) => unknown): void {
    this.answers.set(call, answer as (what: never, time: number) => unknown);
  }

  ask = async (call: keyof DataCalls, what: unknown): Promise<never> => {
    this.asked.push([call, what]);
    return (await this.answers.get(call)?.(what as never, this.times(call))) as never;
  };

  get calls(): string[] {
    return this.asked.map(([call]) => call);
  }

  times(call: keyof DataCalls): number {
    return this.asked.filter(([other]) => other === call).length;
  }
}

export const MACHINE: Machine = {
  name: "played",
  accel: "tcg",
  machine: "q35",
  memory_bytes: 1 << 20,
  smp: 1,
  kernel: "",
  append: "",
  monitors: [],
  extra: [],
  hold: false,
};

/** The rest of an agent, for a part of it that is tested: a slot for QEMUs that are played, a state that a test sets. */
export class Stage implements Disposable {
  readonly folder: string;
  readonly data = new ScriptedData();
  readonly told: EventBody[] = [];
  readonly events: TimelineEventBody[] = [];
  readonly config: AgentConfig;
  readonly shell: Shell;
  machine: Machine = MACHINE;
  state: AgentState;
  vm: ScriptedVm | undefined;
  /** Every QEMU that was ever in the slot. */
  readonly vms: ScriptedVm[] = [];
  /** What becomes of a start: it fails where this throws. */
  onStart: (as: StartAs, vm: ScriptedVm) => unknown = () => undefined;
  onAdopt: () => ScriptedVm | undefined = () => undefined;
  onEvent: (event: EventBody) => void = () => undefined;
  /** What the slot and the output were told. */
  readonly said: string[] = [];
  produced = 0;
  /** Of the VM's output. */
  waiting_bytes = 0;
  readonly #servers: Server[] = [];

  constructor(role: Role, changes: Partial<AgentConfig> = {}) {
    this.folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "ferryman-agent-"));
    this.config = configOf(role, this.folder, changes);
    this.state = initialState(coreConfig(this.config));
    const stage = this;
    const note =
      (what: string) =>
      (...args: unknown[]): void =>
        void this.said.push([what, ...args.filter((arg) => typeof arg === "number")].join(" "));
    this.shell = {
      config: this.config,
      data: this.data,
      output: {
        toDrain: {},
        get produced() {
          return frameNumber(stage.produced);
        },
        get waiting_bytes() {
          return stage.waiting_bytes;
        },
        look: () => frameNumber(this.produced),
        still: () => frameNumber(this.produced),
        settle: async () => frameNumber(this.produced),
        frames: () => [],
        reset: note("output.reset"),
        follow: note("output.follow"),
        unfollow: note("output.unfollow"),
      },
      parts: [],
      slot: {
        get vm() {
          return stage.vm;
        },
        get as() {
          return stage.vm === undefined ? "none" : (stage.vm.started_as ?? "adopted");
        },
        get number() {
          return stage.vms.length;
        },
        kill: async () => {
          this.said.push("slot.kill");
          const vm = this.vm;
          this.vm = undefined;
          await vm?.kill();
        },
        start: (_: Machine, as: StartAs) => this.#start(as),
        standby: async () => (this.vm?.started_as === "standby" ? this.vm : await this.#start("standby")),
        adopt: async () => {
          this.said.push("slot.adopt");
          this.vm = this.onAdopt();
          return this.vm;
        },
        remove: async () => void this.said.push("slot.remove"),
      },
      state: () => this.state,
      dispatch: (event: EventBody) => {
        this.told.push(event);
        this.onEvent(event);
      },
      emit: (event: TimelineEventBody) => void this.events.push(event),
      machine: () => this.machine,
    } as unknown as Shell;
  }

  async #start(as: StartAs): Promise<ScriptedVm> {
    this.said.push(`slot.start ${as}`);
    await this.vm?.kill();
    this.vm = undefined;
    const vm = new ScriptedVm(join(this.folder, `qemu-${this.vms.length + 1}`), as);
    await this.onStart(as, vm);
    this.vms.push(vm);
    this.vm = vm;
    return vm;
  }

  /** A QEMU in the slot. */
  put(started_as?: StartAs): ScriptedVm {
    const vm = new ScriptedVm(join(this.folder, `qemu-${this.vms.length + 1}`), started_as);
    this.vms.push(vm);
    this.vm = vm;
    return vm;
  }

  set(changes: Partial<AgentState>): void {
    this.state = { ...this.state, ...changes };
  }

  /** This QEMU takes the stream of a restore, and runs when it is told to. */
  loads(vm: ScriptedVm): void {
    vm.answers.set("migrate-incoming", async ({ uri }) => {
      const server = createServer((socket) => void socket.on("error", () => undefined).resume());
      this.#servers.push(server);
      await new Promise<void>((resolve) => server.listen(String(uri).replace("unix:", ""), resolve));
    });
    vm.answers.set("query-migrate", () => ({ status: "completed" }));
    vm.runs = false;
  }

  file(name: string, content = ""): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    return path;
  }

  get kinds(): string[] {
    return this.told.map(({ kind }) => kind);
  }

  get lines(): string[] {
    return this.events.flatMap((event) => (event.kind === "log" ? [event.line] : []));
  }

  async until(what: string, is: () => boolean): Promise<void> {
    await waitFor({ what, timeout_ms: 5_000, interval_ms: 1, lastLines: () => this.lines }, () => is() || undefined);
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function configOf(role: Role, folder: string, changes: Partial<AgentConfig> = {}): AgentConfig {
  return {
    role,
    secret: "5a".repeat(32),
    migration: "a5".repeat(16),
    peers: {},
    listen: { host: "127.0.0.1", port: 1 },
    listen_bulk: { host: "127.0.0.1", port: 1 },
    control: { host: "127.0.0.1", port: 1, token: "0f".repeat(32) },
    state_folder: join(folder, "state"),
    memory_folder: folder,
    ram_path: join(folder, "ram"),
    qemu: "qemu-that-is-not-there",
    pagescan: "pagescan-that-is-not-there",
    shim: null,
    lease_ms: 200,
    heartbeat_ms: 20,
    epoch_ms: 100,
    durability: "host",
    log_sync: "memory",
    switchover_by: "qemu",
    memory_ahead: true,
    protect: "until-handoff",
    unprotected: "go",
    base_ahead: 0,
    base_ahead_ms: 0,
    keep_log: false,
    find: "sure",
    ...changes,
  };
}
