import { randomInt } from "node:crypto";
import { mkdirSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { messageOf, UserError } from "../../base/errors.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import {
  type Action,
  type AgentState,
  type Durable,
  type EventBody,
  hears,
  initialState,
  type Message,
  mayGoOn,
  type Role,
  step,
  type TimerName,
} from "../core/index.ts";
import { type DataEvent, DataThread, encodePackage } from "../data/index.ts";
import type { DiskPart } from "../device/disk-part.ts";
import { CARD_CHANNEL, type NetworkCard } from "../device/network-card.ts";
import { type Files, folder, loadPromise, savePromise } from "../log/index.ts";
import { LENGTH_MAX, Peers } from "../wire/index.ts";
import { findAgain, goOnWith } from "./adoption.ts";
import { type AgentConfig, coreConfig } from "./config.ts";
import { Control } from "./control.ts";
import { InboundKeeper, makeDevices, ownershipOf } from "./devices.ts";
import type { Machine } from "./machine.ts";
import { Management } from "./management.ts";
import { MemoryStore } from "./memory.ts";
import { OutputStore } from "./output.ts";
import { PackageSender } from "./package-sender.ts";
import { atHeartbeat, performing } from "./perform.ts";
import { goFirst } from "./process.ts";
import { Protector } from "./protector.ts";
import { Restorer } from "./restorer.ts";
import { log, type Shell, tellData } from "./shell.ts";
import { SourceSide } from "./source-side.ts";
import type { Starter } from "./starter.ts";
import { StarterThread } from "./starter-thread.ts";
import { isStorageTrouble, WriteAgain } from "./storage-trouble.ts";
import { TargetSide } from "./target-side.ts";
import { TransactionTaker } from "./transaction-taker.ts";
import type { WriteAt } from "./two-places.ts";
import { Vitals } from "./vitals.ts";
import { VmLife } from "./vm-life.ts";
import { makeSpares, type VmProcess } from "./vm-process.ts";
import { VmSlot } from "./vm-slot.ts";

/** What the control plane says, and the one thing of it that is long: the package. Longest payloads, bytes. */
const CHANNELS = { words: 64 * 1024, package: LENGTH_MAX.message } as const;

/** No piece of work of the data plane takes so long: each is bounded, whatever the guest's size. */
const DATA_SILENT_MS = 60_000;

/** Parts of an agent that a test replaces by ones that fail. */
export interface AgentParts {
  /** The thread that has all that is long. */
  readonly data: (options: ConstructorParameters<typeof DataThread>[0]) => Shell["data"];
  /** Who starts processes: a thread of its own (`program` is the agent's). */
  readonly starter: (program: string, onFailed: (error: Error) => void) => Starter;
  /** Stops the agent, gate shut; never returns. */
  readonly die: (error: unknown) => never;
  /** Writes what the agent has to remember, and what its VM has put out. */
  readonly write?: WriteAt;
  /** Where its promises are. */
  readonly promises?: (path: string) => Files;
}

export const REAL_PARTS: AgentParts = {
  data: (options) => new DataThread(options),
  starter: (program, onFailed) => new StarterThread(program, onFailed),
  die: (error) => {
    process.stderr.write(
      `the agent stops: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    process.exit(70);
  },
};

/**
 * The shell around the core: gives it what happens, and does what it says, in that order. What a restarted agent needs
 * is on the host's tmpfs before any action of the step is carried out, promises are on disk before they are told.
 * Nothing that takes long is done in this thread: see harness/txsync/data.
 */
export class Agent implements Shell {
  readonly config: AgentConfig;
  readonly data: Shell["data"];
  readonly output: OutputStore;
  readonly parts: Shell["parts"];
  readonly #card: NetworkCard;
  readonly #inbound: InboundKeeper;
  readonly #disks: DiskPart | undefined;
  readonly slot: VmSlot;
  readonly #starter: Starter;
  readonly #peers: Peers<keyof typeof CHANNELS>;
  readonly #control: Control;
  readonly #memory: MemoryStore;
  readonly #promises: Files;
  readonly #source: SourceSide;
  readonly #target: TargetSide;
  readonly #taker: TransactionTaker;
  readonly #life: VmLife;
  readonly #protector: Protector;
  readonly #perform: ReturnType<typeof performing>;
  readonly #die: AgentParts["die"];
  #state: AgentState;
  #machine: Machine | undefined;
  readonly #events: EventBody[] = [];
  #stepping = false;
  /** Before it knows what it was, an agent listens and says nothing: what it hears waits. */
  #started = false;
  readonly #up = Promise.withResolvers<void>();
  #persisting: Promise<unknown> = Promise.resolve();
  /** Nothing happens any more, and nothing is let out. */
  #dead = false;
  /** What it has to remember cannot be written: nothing happens until it can. */
  #stalled: { readonly again: WriteAgain; waiting: boolean } | undefined;
  /** Heartbeats since the data plane answered. */
  #unanswered = 0;
  /** A VM that was found when the agent came up again, and that nobody has let go on yet. */
  #found: VmProcess | undefined;

  constructor(config: AgentConfig, parts: AgentParts = REAL_PARTS) {
    this.config = config;
    this.#die = (error) => {
      this.#dead = true;
      return parts.die(error);
    };
    mkdirSync(config.state_folder, { recursive: true });
    mkdirSync(config.memory_folder, { recursive: true });
    this.#state = initialState(coreConfig(config));
    this.#promises = (parts.promises ?? folder)(config.state_folder);
    this.#memory = new MemoryStore(config.memory_folder, parts.write);
    const devices = makeDevices(this);
    this.#card = devices.card;
    this.#inbound = new InboundKeeper(this, devices.card);
    this.#disks = devices.disks;
    this.parts = devices.parts;
    this.output = new OutputStore(
      config.memory_folder,
      devices.outputs,
      (upTo) => this.dispatch({ kind: "output", upTo }),
      {
        onMuch: (bytes) =>
          log(
            this,
            `${Math.round(bytes / 2 ** 20)} MiB of the VM's output wait here: the gate is shut, or nobody takes it`,
          ),
        onTrouble: (why) =>
          log(
            this,
            why === undefined
              ? "the VM's output is stored again"
              : `the VM's output cannot be stored here, and waits until it can: ${why}`,
          ),
        ...(parts.write === undefined ? {} : { write: parts.write }),
      },
    );
    const program = fileURLToPath(import.meta.url);
    this.#starter = parts.starter(program, (error) => this.#die(error));
    this.data = parts.data({
      program,
      config: dataConfig(config),
      onTell: (event) => this.#told(event),
      onFailed: (error) => this.#die(error),
    });
    this.#peers = new Peers<keyof typeof CHANNELS>({
      role: config.role,
      secret: Buffer.from(config.secret, "hex"),
      migration: Buffer.from(config.migration, "hex"),
      channels: CHANNELS,
      peers: config.peers,
      listen: config.listen,
      patience_ms: config.lease_ms,
      onMessage: (from, message, body) => this.#messageCame(from, message, body),
      onLog: (line) => log(this, line),
    });
    this.slot = new VmSlot({
      config,
      starter: this.#starter,
      emit: (event) => this.emit(event),
      onGone: (vm) => this.#life.gone(vm),
      ready: async () => await this.#disks?.ready(),
    });
    this.#source = new SourceSide(this);
    this.#taker = new TransactionTaker(this);
    this.#taker.onLast = (last) => this.#source.standStill(last);
    this.#target = new TargetSide(this, this.#taker);
    this.#protector = new Protector(this, this.#taker);
    this.#life = new VmLife(this, this.#source, this.#target, new Restorer(this));
    const management = new Management(this, this.#source, this.#life, this.#taker, (machine) => {
      this.#machine = machine;
      this.#memory.save(this.#state, this.slot.number, this.#machine);
    });
    this.#control = new Control({
      listen: config.control,
      answer: async (request) => {
        await this.#up.promise;
        return await management.answer(request);
      },
      onEdge: (upTo) => {
        this.output.acked(Math.min(upTo, this.output.produced));
        this.dispatch({ kind: "edgeConnected", upTo: upTo as never });
      },
      onAck: (upTo) => {
        this.output.acked(Math.min(upTo, this.output.produced));
        this.dispatch({ kind: "edgeAcked", upTo: upTo as never });
      },
      onType: (channel, bytes) => {
        if (channel === CARD_CHANNEL) this.#card.type(bytes);
        else if (this.#state.vm === "running") this.slot.vm?.type(channel, bytes);
      },
    });
    const packages = new PackageSender({
      peers: this.#peers,
      lease_ms: config.lease_ms,
      body: () => {
        const kept = this.#source.package;
        return kept === undefined ? undefined : encodePackage(kept);
      },
      onMoves: () => this.dispatch({ kind: "packageSending" }),
      onLog: (line) => log(this, line),
    });
    this.#perform = performing({
      shell: this,
      control: this.#control,
      source: this.#source,
      target: this.#target,
      taker: this.#taker,
      life: this.#life,
      protector: this.#protector,
      say: (to, message) => void this.#peers.send(to, "words", message),
      sendPackage: (message) => packages.send(message),
      answerEscrow: (key) => this.#peers.answerEscrow(key),
      setTimer: (timer, delay_ms) => this.#setTimer(timer, delay_ms),
      persist: (durable) => this.#persist(durable),
    });
  }

  /** Comes up, perhaps again: finds its promise, its VM and its log, and begins to talk. */
  async start(): Promise<void> {
    const { role } = this.config;
    if (role !== "escrow") await makeSpares(this.config);
    await this.#control.start();
    const durable = await loadPromise(this.#promises);
    const escrow = durable?.escrow ?? this.config.escrow_key ?? null;
    if (escrow !== null) this.#peers.answerEscrow(escrow);
    await this.#peers.start();
    const remembered = this.#memory.load();
    const { log: found } = await this.data.ask("open", { escrow });
    this.#machine = remembered?.machine ?? undefined;
    if (role === "source") await this.#source.findAgain();
    const memory = remembered === null ? null : await findAgain(this, this.#source, remembered, durable);
    const why = await goFirst(this.#starter, this.config.pagescan);
    if (why !== undefined) log(this, `the control plane has no priority over vCPUs here: ${why}`);
    this.#started = true;
    this.#events.unshift({ kind: "started", incarnation: randomInt(2 ** 48 - 1), durable, memory, log: found });
    this.#run();
    new Vitals(this.emit, this.config.lease_ms / 4);
    this.#up.resolve();
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

  /**
   * Something happened. Whatever goes wrong in a step is a contradiction of the core: the agent stops, gate shut, whoever
   * called; the next life reads what is on disk.
   */
  dispatch = (event: EventBody): void => {
    if (this.#stalled !== undefined && isForNow(event, this.#events)) return;
    this.#events.push(event);
    this.#run();
  };

  #run(): void {
    if (this.#stepping || !this.#started || this.#dead || this.#stalled?.waiting === true) return;
    this.#stepping = true;
    try {
      for (let next = this.#events.shift(); next !== undefined && !this.#dead; next = this.#events.shift()) {
        if (this.#step(next)) continue;
        // As if it had not happened yet.
        this.#events.unshift(next);
        break;
      }
    } catch (error) {
      this.#die(error);
    } finally {
      this.#stepping = false;
    }
  }

  /** @returns false where what it has to remember of this could not be written: then nothing was done */
  #step(event: EventBody): boolean {
    const before = this.#state;
    const { state, actions } = step(before, { ...event, now_ms: performance.now() });
    if (!this.#remember(state)) return false;
    this.#state = state;
    if (state.phase !== before.phase || state.vm !== before.vm) {
      this.emit({ kind: "run.note", text: `agent: ${state.phase}, VM ${state.vm}` });
    }
    for (const action of actions) this.#do(action);
    this.#disks?.follow(ownershipOf(state));
    this.#taker.held.afterStep();
    this.#inbound.afterStep();
    const came = state.vm === "running" && before.vm !== "running" && state.opened.generation > 0;
    // A VM that is only to be looked at is left as it came.
    if (came && this.#machine?.card !== undefined && !this.#machine.hold)
      this.slot.vm?.announce().catch((error: unknown) => log(this, `the VM was not announced: ${messageOf(error)}`));
    if (this.config.role === "target") this.#target.afterStep();
    if (this.config.role === "source") this.#source.afterStep();
    this.#goOn();
    return true;
  }

  /**
   * A host's memory that is full or fails is waited for: to come up again would change nothing, and whoever is silent for a
   * lease is taken for gone. @returns whether it was written
   */
  #remember(state: AgentState): boolean {
    try {
      this.#memory.save(state, this.slot.number, this.#machine);
    } catch (error) {
      if (!isStorageTrouble(error)) throw error;
      this.#stall(messageOf(error));
      return false;
    }
    if (this.#stalled === undefined) return true;
    this.#stalled = undefined;
    log(this, "what the agent has to remember can be written again: it goes on");
    return true;
  }

  #stall(why: string): void {
    const stalled = this.#stalled ?? { again: new WriteAgain(), waiting: false };
    if (this.#stalled === undefined)
      log(this, `what the agent has to remember cannot be written, so it does nothing until it can: ${why}`);
    stalled.waiting = true;
    this.#stalled = stalled;
    setTimeout(() => {
      stalled.waiting = false;
      this.#run();
    }, stalled.again.failed());
  }

  #do(action: Action): void {
    // Also one that was not heard for less than a heartbeat may have been dialled into a silent link.
    if (action.kind === "report" && action.report.what === "lease-regained") this.#heardAgain(action.report.peer);
    // The table has a deed of the right type for every kind.
    (this.#perform[action.kind] as (action: Action) => void)(action);
  }

  /** A VM that was found running, perhaps stopped for a transaction, moves again when it is known to be ours still. */
  #goOn(): void {
    const vm = this.#found;
    if (vm === undefined) return;
    if (this.slot.vm !== vm || this.#state.vm !== "running") this.#found = undefined;
    else if (mayGoOn(this.#state)) {
      this.#found = undefined;
      void goOnWith(this, this.#target, vm).then(() => this.#protector.resume(this.#target.package?.blocks));
    }
  }

  #messageCame(from: Role, message: Message, body: Buffer): void {
    try {
      if (message.kind === "package") this.#target.packageCame(body);
    } catch (error) {
      log(this, `a ${message.kind} of ${from} was refused: ${messageOf(error)}`);
      return;
    }
    this.dispatch({ kind: "message", from, message });
  }

  /** What the data plane tells. */
  #told(event: DataEvent): void {
    switch (event.kind) {
      case "event":
        this.emit(event.event);
        return;
      case "record-came":
        this.dispatch({ kind: "message", from: event.from, message: { kind: "append", ...event.header } });
        return;
      case "record-not-received":
        this.dispatch({ ...event, kind: "recordNotReceived" });
        return;
      case "record-moves":
        this.dispatch({ kind: "recordSending", generation: event.generation, n: event.n });
        return;
      case "all-pages":
        this.dispatch({ kind: "allPagesArrived" });
        return;
      case "loaded":
        this.dispatch({ kind: "vmRunning" });
        return;
      case "feed-closed":
        this.#target.feedClosed(event.why);
        return;
      case "ahead-offered":
        void this.#target.prepareAhead(event.offer);
        return;
      case "covered":
        this.dispatch({ kind: "baseCovered", covered: event.covered });
        return;
      case "arrived":
        this.#taker.learn(event.block, event.first, event.content);
        return;
      case "base-offered":
        this.dispatch({ kind: "baseOffered", from: event.from });
        return;
      case "base-known":
        this.#target.baseKnown(event.base);
        return;
      case "base-void":
        this.dispatch({ kind: "baseVoid" });
        void this.#source.forgetBase();
        return;
      case "base-complete":
        this.dispatch({ kind: "baseComplete", complete: true });
        return;
    }
  }

  #setTimer(timer: TimerName, delay_ms: number): void {
    setTimeout(() => this.dispatch({ kind: "timer", timer }), delay_ms);
    if (timer !== "heartbeat") return;
    this.#askData();
  }

  #heardAgain(peer: Role): void {
    this.#peers.heardAgain(peer);
    tellData(this, "heardAgain", { peer });
  }

  /** A data plane that answers nothing any more is as good as dead. Counted in our own beats: who stood still did not beat. */
  #askData(): void {
    const silent = (Object.keys(this.config.peers) as Role[]).filter((peer) => !hears(this.#state, peer));
    for (const peer of silent) this.#peers.notHeard(peer);
    if (this.#unanswered * this.config.heartbeat_ms > DATA_SILENT_MS)
      this.#die(new Error(`the data plane has not answered for ${this.#unanswered} heartbeats`));
    this.#unanswered += 1;
    // What it has not answered is not asked again: nothing piles up.
    if (this.#unanswered > 1) return;
    void atHeartbeat(this, silent).then(() => {
      this.#unanswered = 0;
    });
  }

  #persist(durable: Durable): void {
    this.#persisting = this.#persisting
      .then(() => this.#savePromise(durable))
      .then(() => this.dispatch({ kind: "promisePersisted", generation: durable.descriptor.generation }))
      // Without its promise on disk an agent must not go on: it comes back and reads what is there.
      .catch((error: unknown) => this.#die(error));
  }

  /** Nobody is told of a promise before it is on disk, so a disk that takes nothing is waited for: it is as one that is slow. */
  async #savePromise(durable: Durable): Promise<void> {
    let said = false;
    const again = new WriteAgain();
    while (!this.#dead) {
      try {
        await savePromise(this.#promises, durable);
        if (said) log(this, "the promise is written");
        return;
      } catch (error) {
        if (!isStorageTrouble(error)) throw error;
        if (!said) log(this, `a promise cannot be written, and is not given before it is: ${messageOf(error)}`);
        said = true;
      }
      await delay(again.failed());
    }
  }
}

/**
 * Whether it need not wait for an agent that can do nothing for now: what peers say they say again, and how far something
 * has come is said again with what comes next. So what waits is bounded by what the agent itself has under way.
 */
function isForNow(event: EventBody, waiting: EventBody[]): boolean {
  switch (event.kind) {
    case "message":
    case "recordSending":
    case "packageSending":
      return true;
    case "output":
    case "edgeAcked": {
      const at = waiting.findIndex(({ kind }) => kind === event.kind);
      if (at >= 0) waiting.splice(at, 1);
      return false;
    }
    default:
      return false;
  }
}

/** What the data plane is told of the configuration. */
function dataConfig(config: AgentConfig): ConstructorParameters<typeof DataThread>[0]["config"] {
  const { role, secret, migration, peers, listen_bulk, state_folder, memory_folder, ram_path, pagescan } = config;
  const { lease_ms, log_sync } = config;
  return {
    role,
    secret,
    migration,
    peers,
    listen_bulk,
    state_folder,
    memory_folder,
    ram_path,
    pagescan,
    lease_ms,
    log_sync,
  };
}
