import { randomInt } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/errors.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import {
  type Action,
  type AgentState,
  ALL_RULES,
  type Durable,
  type EventBody,
  hears,
  initialState,
  isOwner,
  type Message,
  mayGoOn,
  type Role,
  step,
  type TimerName,
} from "../core/index.ts";
import { type Files, folder, loadPromise, savePromise, TransactionLog } from "../log/index.ts";
import { decodeNote, FRAME_NOTE, FRAME_PART } from "../pages/notes.ts";
import { FRAME_PAGES, FRAME_REQUEST, wantedBy } from "../pages/page-frames.ts";
import { findAgain, goOnWith } from "./adoption.ts";
import type { AgentConfig } from "./config.ts";
import { Control, type ControlRequest } from "./control.ts";
import { EscrowSide } from "./escrow-side.ts";
import type { Machine, VmProcess } from "./machine.ts";
import { MemoryStore } from "./memory.ts";
import { OutputStore } from "./output.ts";
import { Peers } from "./peers.ts";
import { Restorer } from "./restorer.ts";
import type { Shell } from "./shell.ts";
import { SourceSide } from "./source-side.ts";
import { sendTargetPages } from "./target-pages.ts";
import { TargetSide } from "./target-side.ts";
import { told } from "./told.ts";
import { VmSlot } from "./vm-slot.ts";

const LOOK_AT_ONESELF_MS = 20;

/**
 * The shell around the core: gives it what happens, and does what it says, in that order. What a restarted agent needs
 * is on the host's tmpfs before any action of the step is carried out, promises are on disk before they are told.
 */
export class Agent implements Shell {
  readonly config: AgentConfig;
  readonly peers: Peers;
  readonly output: OutputStore;
  readonly slot: VmSlot;
  readonly #control: Control;
  readonly #memory: MemoryStore;
  readonly #promises: Files;
  readonly #source: SourceSide;
  readonly #target: TargetSide;
  readonly #restorer: Restorer;
  #escrow: EscrowSide | undefined;
  #state: AgentState;
  #machine: Machine | undefined;
  #events: EventBody[] = [];
  #stepping = false;
  #persisting: Promise<unknown> = Promise.resolve();
  /** A VM that was found when the agent came up again, and that nobody has let go on yet. */
  #found: VmProcess | undefined;
  #migrate_asked = false;
  #cancelling: Promise<void> = Promise.resolve();

  constructor(config: AgentConfig) {
    this.config = config;
    mkdirSync(config.state_folder, { recursive: true });
    mkdirSync(config.memory_folder, { recursive: true });
    const { role, lease_ms, heartbeat_ms, epoch_ms, durability, log_sync } = config;
    this.#state = initialState({
      role,
      lease_ms,
      heartbeat_ms,
      epoch_ms,
      durability,
      logSync: log_sync,
      rules: ALL_RULES,
    });
    this.#promises = folder(config.state_folder);
    this.#memory = new MemoryStore(config.memory_folder);
    this.output = new OutputStore(config.memory_folder, (upTo) => this.dispatch({ kind: "output", upTo }));
    this.peers = new Peers({
      role,
      secret: Buffer.from(config.secret, "hex"),
      migration: Buffer.from(config.migration, "hex"),
      peers: config.peers,
      listen: config.listen,
      patience_ms: config.lease_ms,
      onMessage: (from, message, body) => this.#messageCame(from, message, body),
      onData: (from, payload) => this.#dataCame(from, payload),
      onLog: (line) => this.emit({ kind: "log", stream: "agent", line }),
    });
    this.#control = new Control({
      listen: config.control,
      answer: (request) => this.#answer(request),
      onEdge: (upTo) => this.dispatch({ kind: "edgeConnected", upTo: upTo as never }),
      onAck: (upTo) => {
        this.output.acked(Math.min(upTo, this.output.produced));
        this.dispatch({ kind: "edgeAcked", upTo: upTo as never });
      },
      onType: (channel, bytes) => void this.#typed(channel, bytes),
    });
    this.slot = new VmSlot({
      config,
      emit: (event) => this.emit(event),
      onGone: () => {
        // What it had put out before it died was put out all the same.
        this.output.look();
        this.dispatch({ kind: "qemuGone" });
      },
    });
    this.#source = new SourceSide(this);
    this.#target = new TargetSide(this);
    this.#restorer = new Restorer(this);
  }

  /** Comes up, perhaps again: finds its promise, its VM and its log, and begins to talk. */
  async start(): Promise<void> {
    const { role } = this.config;
    const durable = await loadPromise(this.#promises);
    const remembered = this.#memory.load();
    let log = null;
    if (role === "escrow") {
      const place = join(this.config.log_sync === "disk" ? this.config.state_folder : this.config.memory_folder, "log");
      mkdirSync(place, { recursive: true });
      const opened = await TransactionLog.open({ files: folder(place), sync: this.config.log_sync });
      this.#escrow = new EscrowSide(this, opened);
      log = opened.state;
    }
    this.#machine = remembered?.machine ?? undefined;
    const memory = remembered === null ? null : await findAgain(this, this.#source, remembered, durable);
    await this.#control.start();
    await this.peers.start();
    this.dispatch({ kind: "started", incarnation: randomInt(2 ** 48 - 1), durable, memory, log });
    this.#escrow?.findAgain();
    this.#watchOneself();
    if (memory?.vm === "running") this.#found = this.slot.vm;
    this.#goOn();
    if (role === "source" && this.#source.hasBase && this.#state.promised.generation > 0)
      await this.#source.startServing();
  }

  state = (): AgentState => this.#state;

  machine = (): Machine => {
    if (this.#machine === undefined)
      throw new UserError("the agent was not told what machine to run: send `prepare` first");
    return this.#machine;
  };

  emit = (event: TimelineEventBody): void => {
    this.#control.emit(event);
    if (event.kind === "log") process.stderr.write(`${event.line}\n`);
  };

  dispatch = (event: EventBody): void => {
    this.#events.push(event);
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let next = this.#events.shift(); next !== undefined; next = this.#events.shift()) this.#step(next);
    } finally {
      this.#stepping = false;
    }
  };

  #step(event: EventBody): void {
    const before = this.#state;
    const { state, actions } = step(before, { ...event, now_ms: performance.now() });
    this.#state = state;
    this.#memory.save(state, this.slot.number, this.#machine);
    if (state.phase !== before.phase || state.vm !== before.vm) {
      this.emit({ kind: "run.note", text: `agent: ${state.phase}, VM ${state.vm}` });
    }
    for (const action of actions) this.#perform(action);
    this.#target.afterStep();
    this.#goOn();
  }

  /** A VM that was found running, perhaps stopped for a transaction, moves again when it is known to be ours still. */
  #goOn(): void {
    const vm = this.#found;
    if (vm === undefined) return;
    if (this.slot.vm !== vm || this.#state.vm !== "running") this.#found = undefined;
    else if (mayGoOn(this.#state)) {
      this.#found = undefined;
      void goOnWith(this, this.#target, vm);
    }
  }

  /** An agent that gets no processor hears nobody: who reads the timeline should know which it was. */
  #watchOneself(): void {
    let last_ms = performance.now();
    setInterval(() => {
      const now_ms = performance.now();
      const late_ms = Math.round(now_ms - last_ms - LOOK_AT_ONESELF_MS);
      last_ms = now_ms;
      if (late_ms > this.config.lease_ms / 4)
        this.emit({ kind: "run.note", text: `the agent stood still for ${late_ms} ms` });
    }, LOOK_AT_ONESELF_MS).unref();
  }

  #messageCame(from: Role, message: Message, body: Buffer): void {
    try {
      if (message.kind === "append") this.#escrow?.recordCame(message, body);
      if (message.kind === "package") this.#target.packageCame(body);
      this.dispatch({ kind: "message", from, message });
    } catch (error) {
      this.emit({
        kind: "log",
        stream: "agent",
        line: `a ${message.kind} of ${from} was refused: ${messageOf(error)}`,
      });
      if (!(error instanceof UserError)) this.#die(error);
    }
  }

  #dataCame(from: Role, payload: Buffer): void {
    const failed = (error: unknown): void =>
      this.emit({ kind: "log", stream: "agent", line: `data of ${from} was refused: ${messageOf(error)}` });
    try {
      switch (payload[0]) {
        case FRAME_REQUEST:
          if (this.#escrow !== undefined) this.#escrow.requested(from, payload);
          else this.#source.serve(from, payload).catch(failed);
          return;
        case FRAME_PAGES:
          this.#pagesCame(from, payload);
          return;
        case FRAME_NOTE: {
          const note = decodeNote(payload);
          if (note.kind === "base-held") {
            this.#source.baseHeld(note);
            this.#target.baseHeld(note);
          }
          if (note.kind === "log-refused") this.#restorer.refused(note.question, note.why);
          this.#escrow?.note(from, note);
          return;
        }
        case FRAME_PART:
          this.#restorer.partCame(payload);
          return;
        default:
          failed(new Error(`data of kind ${payload[0]}`));
      }
    } catch (error) {
      failed(error);
    }
  }

  #pagesCame(from: Role, payload: Buffer): void {
    const by = wantedBy(payload);
    if (by !== this.config.role) sendTargetPages(this.peers, by, [payload]);
    else if (this.#escrow !== undefined) this.#escrow.pagesCame(payload);
    else if (!this.#restorer.pagesCame(payload)) this.#target.pagesCame(from, payload);
  }

  async #typed(channel: number, bytes: Buffer): Promise<void> {
    if (this.#state.vm === "running") await this.slot.vm?.type(channel, bytes);
  }

  // ---- what the core wants done

  #perform(action: Action): void {
    const { role } = this.config;
    switch (action.kind) {
      case "send":
        this.#send(action.to, action.message);
        return;
      case "setTimer":
        this.#setTimer(action.timer, action.delay_ms);
        return;
      case "persistPromise":
        this.#persist(action.durable);
        return;
      case "startMigration":
        void this.#source.migrate();
        return;
      case "cancelMigration":
        void this.#cancel();
        return;
      case "startPageServer":
        void this.#source.startServing();
        return;
      case "stopPageServer":
        this.#source.stopServing();
        return;
      case "loadPackage":
        this.#load();
        return;
      case "takeTransaction":
        void this.#target.take(action);
        return;
      case "forgetRecord":
        this.#target.committed(action.generation, action.n);
        return;
      case "dropRecord":
        this.#target.dropRecord(action.n);
        return;
      case "storeRecord":
        void this.#escrow?.store(action.header);
        return;
      case "releaseOutput": {
        const frames = this.output.frames(action.from, action.to);
        this.#control.letOut(action.generation, frames);
        const bytes = frames.reduce((sum, frame) => sum + frame.bytes.length, 0);
        const waited_ms = Math.max(0, ...frames.map(({ number }) => this.output.age_ms(number)));
        this.emit({ kind: "gate.released", generation: action.generation, n: action.to, bytes, waited_ms });
        return;
      }
      case "startRestore":
        void this.#restore(action);
        return;
      case "abortRestore":
        void this.#restorer.abort();
        return;
      case "runQemu":
        void this.#run();
        return;
      case "stopQemu":
        void this.#stopQemu();
        return;
      case "setPageRoute":
        this.#target.setRoute(action.route);
        return;
      case "finish":
        void this.#finish(role);
        return;
      case "report": {
        const event = told(action.report, this.#state);
        if (event !== undefined) this.emit(event);
        return;
      }
    }
  }

  #send(to: Role, message: Message): void {
    if (message.kind === "package") {
      const body = this.#source.packageBody();
      if (body !== undefined) this.peers.send(to, message, body);
      return;
    }
    if (message.kind === "append") {
      const body = this.#target.recordOf(message);
      if (body !== undefined) this.peers.send(to, message, body);
      return;
    }
    this.peers.send(to, message);
  }

  #setTimer(timer: TimerName, delay_ms: number): void {
    setTimeout(() => this.dispatch({ kind: "timer", timer }), delay_ms);
    if (timer !== "heartbeat") return;
    const { role } = this.config;
    for (const peer of Object.keys(this.config.peers) as Role[]) {
      if (!hears(this.#state, peer)) this.peers.notHeard(peer);
    }
    if (role === "source") this.#source.offer();
    this.#escrow?.beat();
  }

  #persist(durable: Durable): void {
    this.#persisting = this.#persisting
      .then(() => savePromise(this.#promises, durable))
      .then(() => this.dispatch({ kind: "promisePersisted", generation: durable.descriptor.generation }))
      // Without its promise on disk an agent must not go on: it comes back and reads what is there.
      .catch((error: unknown) => this.#die(error));
  }

  #load(): void {
    const { vm } = this.slot;
    if (vm !== undefined) {
      const { gate } = this.#state;
      this.output.reset(gate.produced, gate.acked, []);
      this.output.follow(vm.folder);
    }
    void this.#target.load();
  }

  /** The migration is given up before anybody promised anything: the VM runs on here. One attempt at a time. */
  #cancel(): Promise<void> {
    this.#cancelling = this.#cancelling.then(() => this.#cancelOnce());
    return this.#cancelling;
  }

  async #cancelOnce(): Promise<void> {
    try {
      const kept = this.#source.kept;
      if (kept !== undefined && this.#source.hasBase) {
        await this.#restorer.restorePackage(kept.package, this.#base(kept.small));
        await this.#source.forgetBase();
      } else {
        await this.#source.cancel();
        const salvaged = await this.#source.leftBehind();
        if (salvaged !== undefined) {
          await this.#restorer.restoreHere(salvaged, this.#base(salvaged.small), salvaged.device_state);
          await this.#source.forgetBase();
        }
      }
    } catch (error) {
      this.emit({ kind: "log", stream: "agent", line: `the VM did not run on here: ${messageOf(error)}` });
      this.dispatch({ kind: "qemuGone" });
    }
    if (this.#migrate_asked) this.emit({ kind: "migration.step", step: "failed" });
  }

  #base(small: readonly { readonly name: string; readonly content: Buffer }[]) {
    return { block: RAM_BLOCK, path: this.#source.base_path, small };
  }

  async #restore(action: Extract<Action, { kind: "startRestore" }>): Promise<void> {
    await this.#target.stop();
    const kept = this.config.role === "source" ? this.#source.kept : undefined;
    if (kept !== undefined) {
      await this.#restorer.restore(action, kept.package, this.#base(kept.small));
      return;
    }
    const known = this.#target.package;
    if (known === undefined) this.dispatch({ kind: "restoreFailed", generation: action.generation });
    else await this.#restorer.restore(action, known, null);
  }

  async #run(): Promise<void> {
    try {
      await this.slot.vm?.qmp.execute("cont");
      this.dispatch({ kind: "vmRunning" });
      this.emit({ kind: "restore.running", generation: this.#state.opened.generation });
      this.#restorer.done();
      await this.#source.forgetBase();
    } catch (error) {
      this.emit({ kind: "log", stream: "agent", line: `the restored VM does not run: ${messageOf(error)}` });
    }
  }

  async #stopQemu(): Promise<void> {
    await this.#target.stop();
    this.output.unfollow();
    await this.slot.kill();
    rmSync(this.config.ram_path, { force: true });
  }

  async #finish(role: Role): Promise<void> {
    if (role === "escrow") {
      this.#escrow?.forget();
      return;
    }
    if (role === "source" && this.#machine?.hold === true) {
      await this.#source.putBack();
      return;
    }
    await this.#stopQemu();
    if (role === "source") await this.#source.forgetBase();
  }

  // ---- whoever manages the agent

  async #answer(request: ControlRequest): Promise<unknown> {
    switch (request.do) {
      case "prepare": {
        this.#machine = request.machine;
        if (request.start === "nothing") return null;
        if (request.start === "adopt") {
          const vm = await this.slot.take(request.folder ?? "");
          if (vm === undefined)
            throw new UserError(`there is no QEMU in ${request.folder ?? "no folder"} that could be adopted`);
          this.output.followFromNow(vm.folder);
          return { pid: vm.pid };
        }
        const vm = await this.slot.start(request.machine, request.start);
        if (request.start === "boot") this.output.follow(vm.folder);
        this.#memory.save(this.#state, this.slot.number, this.#machine);
        return { pid: vm.pid };
      }
      case "migrate":
        if (this.config.role !== "source") throw new UserError("a migration is asked of the source's agent");
        if (this.slot.vm === undefined) throw new UserError("there is no VM here that could be migrated");
        this.#migrate_asked = true;
        this.#source.setRate(request.bytes_per_s);
        this.dispatch({ kind: "migrate" });
        return null;
      default: {
        const { phase, vm, opened, promised, finished, allPages, route, log, tx } = this.#state;
        return {
          phase,
          vm,
          owner: isOwner(this.#state),
          opened,
          promised,
          finished,
          allPages,
          route,
          log,
          committed: tx.committed,
          qemu: this.slot.vm?.pid ?? null,
          folder: this.slot.vm?.folder ?? null,
          migration: this.slot.vm?.migration ?? null,
          hears: (Object.keys(this.config.peers) as Role[]).filter((peer) => hears(this.#state, peer)),
        };
      }
    }
  }

  /** The core contradicts itself, or its promise cannot be written: stop, gate shut; the next life reads what is on disk. */
  #die(error: unknown): never {
    process.stderr.write(
      `the agent stops: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exit(70);
  }
}
