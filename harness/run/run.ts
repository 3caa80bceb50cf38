import { randomBytes } from "node:crypto";
import { createWriteStream, mkdirSync, type WriteStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type Docker from "dockerode";
import { messageOf } from "../base/errors.ts";
import { LineCutter } from "../base/lines.ts";
import { chunksOf } from "../base/patience.ts";
import type { Accel, CheckResult, GuestKind, Recovery, RunRecord, RunTimings } from "../base/run-record.ts";
import { RUN_RECORD_VERSION } from "../base/run-record.ts";
import type { HostRole, RunPhase, TimelineEvent } from "../base/timeline.ts";
import { waitFor } from "../base/wait.ts";
import { movers } from "../checks/check.ts";
import type { AfterwardsFindings, Evidence } from "../checks/evidence.ts";
import { nothingLeft } from "../checks/nothing-left.ts";
import { struck } from "../checks/struck.ts";
import { type Judged, judge } from "../checks/verdict.ts";
import { whereOf } from "../faults/index.ts";
import { AGENT_FILES } from "../fleet/agent-files.ts";
import { findLeftovers } from "../fleet/clean.ts";
import { type StartedFleet, startFleet } from "../fleet/fleet.ts";
import type { StartedHost } from "../fleet/host.ts";
import { hostShmBytes } from "../fleet/shm.ts";
import type { LogSink } from "../fleet/vm.ts";
import { StartedVm } from "../fleet/vm.ts";
import type { Machine } from "../txsync/agent/machine.ts";
import { auditStill } from "./audit.ts";
import { evidenceWithoutVm, gather, watchProgress } from "./gather.ts";
import type { GuestUnderTest } from "./guests/guest.ts";
import { makeGuest } from "./guests/index.ts";
import type { GuestWork } from "./guests/work.ts";
import { DEFAULT_PATIENCE_MS, type Looking, lookingWith } from "./looking.ts";
import { migrateAgain } from "./migrate-again.ts";
import { Nemesis } from "./nemesis.ts";
import { recoveryTimings } from "./recovery-timings.ts";
import { ProgressSampler } from "./sampler.ts";
import type { Scenario } from "./scenario.ts";
import type { Settled } from "./settled.ts";
import { STOCK_PATIENCE, StockMigration } from "./stock.ts";
import { Timeline } from "./timeline.ts";
import { faultId, triggerText } from "./trigger.ts";
import type { AgentStatus } from "./txsync/agent-client.ts";
import { agentMachine } from "./txsync/agent-machine.ts";
import { AgentVms } from "./txsync/agent-vms.ts";
import { Agents } from "./txsync/agents.ts";
import { Edge } from "./txsync/edge.ts";
import { TxsyncMigration } from "./txsync/migration.ts";
import { settingsFor, type TxsyncSettings } from "./txsync/settings.ts";
import { UsageSampler } from "./usage.ts";

/** What every run of one command shares. */
export interface RunEnvironment {
  readonly docker: Docker;
  readonly host_image: string;
  readonly toxiproxy_image: string;
  /** As the user named it: "10.0", or an image. */
  readonly qemu: string;
  readonly qemu_version: string;
  readonly qemu_binary: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Folder in which each run makes its own. */
  readonly runs_folder: string;
  readonly signal: AbortSignal;
}

export interface RunRequest {
  readonly scenario: Scenario;
  readonly recovery: Recovery;
  readonly guest: GuestKind;
  readonly accel: Accel;
  readonly accel_why: string;
  readonly seed: number;
  readonly memory_bytes: number;
  /** Over the scenario's own. */
  readonly work?: GuestWork;
  /** Gives up once nothing has moved for so long; default DEFAULT_PATIENCE_MS. */
  readonly patience_ms?: number;
  /** Leaves the fleet standing after the run. */
  readonly keep: boolean;
  /** Over the scenario's own settings of txsync. */
  readonly txsync?: Partial<TxsyncSettings>;
  readonly onEvent?: (event: TimelineEvent) => void;
}

export interface FinishedRun {
  readonly record: RunRecord;
  readonly folder: string;
}

/** One run from start to verdict. It never throws for what happens in the run: that is in the record. */
export async function runScenario(environment: RunEnvironment, request: RunRequest): Promise<FinishedRun> {
  const { scenario, recovery, seed } = request;
  const id = `${scenario.id}-${recovery}-${request.accel}-${randomBytes(4).toString("hex")}`;
  const folder = join(environment.runs_folder, id);
  mkdirSync(folder, { recursive: true });
  const started_at = new Date().toISOString();
  const timeline = new Timeline(join(folder, "timeline.ndjson"));
  if (request.onEvent) timeline.onEvent(request.onEvent);
  timeline.emit("run", { kind: "run.started", scenario: scenario.id, recovery, seed });
  const clock = new PhaseClock(timeline);
  let judged: Judged;
  let error: string | undefined;
  const run = new Run(environment, request, id, folder, timeline, clock);
  try {
    judged = struck(judge(await run.play()), namedFaults(scenario), timeline.events);
  } catch (thrown) {
    error = messageOf(thrown);
    judged = { verdict: "unknown", why: `the harness failed: ${error.split("\n")[0]}`, checks: [] };
  }
  const checks: CheckResult[] = [...judged.checks];
  if (!request.keep) checks.push(nothingLeft(await gather(() => findLeftovers(environment.docker, id))));
  for (const result of checks) {
    timeline.emit("check", {
      kind: "check.result",
      check: result.check,
      verdict: result.verdict,
      summary: result.summary,
    });
  }
  const expected = scenario.expect[recovery] ?? "unknown";
  const tidy = checks.every(({ check, verdict }) => check !== "nothing-left" || verdict === true);
  const as_expected = error === undefined && judged.verdict === expected && tidy;
  timeline.emit("run", { kind: "run.finished", verdict: judged.verdict, as_expected });
  const record: RunRecord = {
    version: RUN_RECORD_VERSION,
    id,
    started_at,
    scenario: scenario.id,
    title: scenario.title,
    group: scenario.group,
    recovery,
    accel: request.accel,
    accel_why: request.accel_why,
    guest: request.guest,
    qemu: environment.qemu,
    qemu_version: environment.qemu_version,
    seed,
    memory_bytes: request.memory_bytes,
    ...scenario.work,
    ...request.work,
    patience_ms: request.patience_ms ?? DEFAULT_PATIENCE_MS,
    ...(run.tries === undefined ? {} : { tries: run.tries }),
    faults: scenario.faults.map(({ fault, at }) => ({ fault: fault.fault, on: whereOf(fault), at: triggerText(at) })),
    expected,
    verdict: judged.verdict,
    as_expected,
    why: judged.why,
    checks,
    timings: { ...clock.timings(judged.verdict !== "lost"), ...recoveryTimings(timeline.events) },
    command: commandOf(environment, request),
    versions: environment.versions,
    ...(error === undefined ? {} : { error }),
  };
  await timeline.close();
  await writeFile(join(folder, "run.json"), `${JSON.stringify(record, null, 2)}\n`);
  return { record, folder };
}

function namedFaults({ faults }: Scenario): readonly { readonly id: string; readonly name: string }[] {
  return faults.map(({ fault }, index) => ({
    id: faultId(index),
    name: `fault ${index} (${fault.fault}, ${whereOf(fault)})`,
  }));
}

/** The command that runs the same again. */
function commandOf(environment: RunEnvironment, request: RunRequest): string {
  const words = ["npx tsx harness/cli.ts run", request.scenario.id, `--recovery ${request.recovery}`];
  words.push(`--accel ${request.accel}`, `--qemu ${environment.qemu}`, `--guest ${request.guest}`);
  words.push(`--memory ${request.memory_bytes / 1024 ** 2}`, `--seed ${request.seed}`);
  const { write_rate_pages_per_s: rate, working_set_bytes: set } = request.work ?? {};
  if (rate !== undefined) words.push(`--write-rate ${rate}`);
  if (set !== undefined) words.push(`--working-set ${set / 1024 ** 2}`);
  const { lease_ms, epoch_ms, durability, protect, unprotected, base_ahead, find } = request.txsync ?? {};
  if (lease_ms !== undefined) words.push(`--lease ${lease_ms}`);
  if (epoch_ms !== undefined) words.push(`--epoch ${epoch_ms}`);
  if (durability !== undefined) words.push(`--durability ${durability}`);
  if (protect !== undefined) words.push(`--protect ${protect}`);
  if (unprotected !== undefined) words.push(`--unprotected ${unprotected}`);
  if (base_ahead !== undefined) words.push(`--ahead ${Math.round(base_ahead * 100)}`);
  if (find !== undefined) words.push(`--find ${find}`);
  if (request.patience_ms !== undefined) words.push(`--patience ${request.patience_ms / 1000}`);
  return words.join(" ");
}

/** Measures how long each phase took, and says on the timeline where the run is. */
class PhaseClock {
  readonly #timeline: Timeline;
  readonly #spent_ms = new Map<RunPhase, number>();
  #current: { phase: RunPhase; since_ms: number } | undefined;
  /** The longest time in which the guest was not seen to move while it was carried over, to 50 ms or so. */
  downtime_ms: number | undefined;

  constructor(timeline: Timeline) {
    this.#timeline = timeline;
  }

  enter(phase: RunPhase): void {
    this.#leave();
    this.#current = { phase, since_ms: this.#timeline.now_ms };
    this.#timeline.emit("run", { kind: "run.phase", phase });
  }

  #leave(): void {
    if (!this.#current) return;
    const { phase, since_ms } = this.#current;
    this.#spent_ms.set(phase, (this.#spent_ms.get(phase) ?? 0) + this.#timeline.now_ms - since_ms);
    this.#current = undefined;
  }

  /** @param arrived whether there is a VM at the end: one that never came back was not down, it is lost */
  timings(arrived: boolean): RunTimings {
    this.#leave();
    const spent = (phase: RunPhase): number => Math.round(this.#spent_ms.get(phase) ?? 0);
    return {
      total_ms: Math.round(this.#timeline.now_ms),
      fleet_ms: spent("fleet"),
      boot_ms: spent("boot"),
      migration_ms: spent("migrate") + spent("settle"),
      check_ms: spent("check"),
      ...(this.downtime_ms === undefined || !arrived ? {} : { downtime_ms: this.downtime_ms }),
    };
  }
}

/** The parts of one run while it goes on. */
class Run {
  readonly #environment: RunEnvironment;
  readonly #request: RunRequest;
  readonly #id: string;
  readonly #folder: string;
  readonly #timeline: Timeline;
  readonly #clock: PhaseClock;
  readonly #vms = new Map<HostRole, StartedVm>();
  readonly #files = new Map<string, WriteStream>();
  readonly #looking: Looking;
  /** How often the migration was asked for; undefined before it was. */
  tries: number | undefined;

  constructor(
    environment: RunEnvironment,
    request: RunRequest,
    id: string,
    folder: string,
    timeline: Timeline,
    clock: PhaseClock,
  ) {
    this.#environment = environment;
    this.#request = request;
    this.#id = id;
    this.#folder = folder;
    this.#timeline = timeline;
    this.#clock = clock;
    this.#looking = lookingWith(request.patience_ms ?? DEFAULT_PATIENCE_MS, timeline.emit);
  }

  /** From nothing to evidence; whatever was started is gone afterwards, however it ended. */
  async play(): Promise<Evidence> {
    const [environment, request] = [this.#environment, this.#request];
    const guest = makeGuest(request.guest, {
      seed: request.seed,
      memory_bytes: request.memory_bytes,
      accel: request.accel,
      emit: this.#timeline.emit,
      work: { ...request.scenario.work, ...request.work },
      looking: this.#looking,
    });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => this.#closeLogs());
    this.#clock.enter("fleet");
    const fleet = await startFleet(environment.docker, {
      run: this.#id,
      host_image: environment.host_image,
      toxiproxy_image: environment.toxiproxy_image,
      shm_bytes: hostShmBytes(request.memory_bytes),
      devices: request.accel === "kvm" ? ["/dev/kvm"] : [],
      kept: request.keep,
      emit: this.#timeline.emit,
    });
    // Once, whoever asks first: the run's end then waits for what an interrupt has begun.
    let takenDown: Promise<void> | undefined;
    const takeDown = (): Promise<void> => {
      takenDown ??= Promise.resolve(fleet[Symbol.asyncDispose]());
      return takenDown;
    };
    stack.defer(async () => {
      this.#clock.enter("teardown");
      if (!request.keep || environment.signal.aborted) await takeDown();
    });
    stack.defer(async () => {
      for (const vm of this.#vms.values()) await vm[Symbol.asyncDispose]();
    });
    // Taking the fleet away makes everything that waits fail: that is how an interrupted run ends at once.
    const interrupt = (): void => void takeDown().catch(() => undefined);
    environment.signal.addEventListener("abort", interrupt, { once: true });
    stack.defer(() => environment.signal.removeEventListener("abort", interrupt));
    environment.signal.throwIfAborted();
    try {
      return await (request.recovery === "txsync" ? this.#underAgents(fleet, guest) : this.#onFleet(fleet, guest));
    } finally {
      // What is seen of a fleet that is being taken away says nothing about the VM, whether it looks like an error or not.
      environment.signal.throwIfAborted();
    }
  }

  async #onFleet(fleet: StartedFleet, guest: GuestUnderTest): Promise<Evidence> {
    const { scenario } = this.#request;
    const held_still = scenario.migration.hold_target === true;
    this.#clock.enter("boot");
    const [source, target] = await Promise.all([
      this.#startVm(fleet, guest, "source", { incoming: false, paused: false }),
      this.#startVm(fleet, guest, "target", { incoming: true, paused: held_still }),
    ]);
    await guest.booted(source);
    this.#clock.enter("work");
    const workload = guest.workload();
    await using atWork = new AsyncDisposableStack();
    atWork.defer(() => workload.stop());
    workload.moveTo(source);
    await workload.warmedUp();
    const nemesis = new Nemesis(scenario.faults, this.#timeline, {
      fleet,
      pid: (role, process) => {
        const vm = this.#vms.get(role);
        return process === "qemu" && vm?.alive ? vm.process.pid : undefined;
      },
    });
    const stopFollowing = this.#timeline.onEvent((event) => {
      if (event.kind === "migration.step" && event.step === "target-running") workload.moveTo(target);
    });
    await using usage = await UsageSampler.start(fleet, () => undefined, this.#timeline);
    this.#clock.enter("migrate");
    await using sampler = new ProgressSampler(guest, this.#vms, this.#timeline);
    let settled: Settled;
    try {
      const patience = { ...STOCK_PATIENCE, patience_ms: this.#looking.patience_ms };
      settled = await new StockMigration(source, target, scenario.migration, this.#timeline, patience).run();
    } finally {
      stopFollowing();
      await nemesis.stop();
    }
    await Promise.all([sampler[Symbol.asyncDispose](), usage[Symbol.asyncDispose]()]);
    this.#clock.downtime_ms = sampler.downtime_ms;
    this.#timeline.emit("run", { kind: "run.settled", how: settled.how, owner: settled.owner });
    this.#clock.enter("check");
    workload.moveTo(settled.owner === "none" ? undefined : this.#vms.get(settled.owner));
    return await this.#evidence(fleet, guest, settled, workload, held_still);
  }

  /** The same under txsync: agents have the VMs, the links and the decisions; the harness asks once and watches. */
  async #underAgents(fleet: StartedFleet, guest: GuestUnderTest): Promise<Evidence> {
    const { scenario, memory_bytes, accel } = this.#request;
    const emit = this.#timeline.emit;
    await using stack = new AsyncDisposableStack();
    this.#clock.enter("boot");
    const token = randomBytes(32).toString("hex");
    const edge = stack.use(new Edge((role) => fleet.host(role), token));
    const consoles = { source: new LineCutter(), target: new LineCutter(), escrow: new LineCutter() };
    edge.onFrame((channel, bytes, from) => {
      if (channel !== 0) return;
      for (const line of consoles[from].push(bytes.toString("latin1"))) {
        this.#logOf(from)("console", line);
        guest.onConsole(from, line);
      }
    });
    const log = (role: HostRole): LogSink => this.#logOf(role);
    const settings = settingsFor(memory_bytes, scenario.txsync, this.#request.txsync);
    const agentVms = new AgentVms({ fleet, edge, emit, log, vms: this.#vms });
    const startAgents = async (turn: number): Promise<Agents> =>
      stack.use(
        await Agents.start(fleet, {
          settings,
          turn,
          token,
          qemu_binary: this.#environment.qemu_binary,
          emit,
          log,
          onEvent: (role, event) => {
            if (event.kind === "qemu.started") agentVms.started(role, event.pid);
            if (event.kind === "qemu.exited") agentVms.ended(role, event.last_lines);
            if (event.kind === "gate.released") edge.marked(role, event.n);
            if (event.kind === "run.note") this.#logOf(role)("agent", event.text);
            emit(event.kind.startsWith("migration.") ? "migration" : role, event);
          },
        }),
      );
    const agents = await startAgents(1);
    const machine = agentMachine({
      ...guest.files,
      accel,
      memory_bytes,
      hold: scenario.migration.hold_target === true,
    });
    await Promise.all([
      agents.client("source").ask({ do: "prepare", machine, start: "boot" }),
      agents.client("target").ask({ do: "prepare", machine, start: scenario.protect ? "nothing" : "incoming" }),
    ]);
    const source = await agentVms.of("source");
    await guest.booted(source);
    this.#clock.enter("work");
    const workload = guest.workload();
    stack.defer(() => workload.stop());
    // The world outside knows one line; behind it the VM may be anywhere.
    workload.moveTo({
      alive: true,
      com2: async () => edge.line(1),
      host: {
        get role() {
          return edge.from;
        },
      },
    });
    await workload.warmedUp();
    const nemesis = new Nemesis(scenario.faults, this.#timeline, {
      fleet,
      pid: (role, process) => (process === "qemu" ? agentVms.pid(role) : agents.pid(role)),
    });
    await using usage = await UsageSampler.start(fleet, (role) => agents.pid(role), this.#timeline);
    this.#clock.enter("migrate");
    await using sampler = new ProgressSampler(guest, this.#vms, this.#timeline);
    const migration = new TxsyncMigration({
      fleet,
      agents,
      memory_bytes,
      bytes_per_s: scenario.migration.bandwidth_bytes_per_s,
      timeline: this.#timeline,
      patience_ms: this.#looking.patience_ms,
      lease_ms: settings.lease_ms,
      protect: scenario.protect !== undefined,
      faultsOver: () => nemesis.done,
      struck: () => nemesis.struck,
      prepareTarget: () => agents.client("target").ask({ do: "prepare", machine, start: "incoming" }),
    });
    let settled: Settled;
    try {
      settled = await migration.run();
    } finally {
      await nemesis.stop();
    }
    await Promise.all([sampler[Symbol.asyncDispose](), usage[Symbol.asyncDispose]()]);
    this.#clock.downtime_ms = sampler.downtime_ms;
    this.tries = settled.tries;
    emit("run", { kind: "run.settled", how: settled.how, owner: settled.owner });
    this.#clock.enter("check");
    const parts = { agents, startAgents, agentVms, machine, edge, lease_ms: settings.lease_ms };
    return await this.#evidence(fleet, guest, settled, workload, machine.hold, {
      edge,
      unprotect: () => this.#unprotect(fleet, agents),
      released: () => agents.stop(),
      afterwards: (owner) => this.#afterwards(fleet, guest, owner, parts),
    });
  }

  /** As an operator would: the agents of who has a VM that is protected are told that this is enough. */
  async #unprotect(fleet: StartedFleet, agents: Agents): Promise<void> {
    for (const role of ["source", "target"] as const) {
      const client = agents.client(role);
      if (!fleet.host(role).up || !client.connected) continue;
      const { protect } = await client.ask<AgentStatus>({ do: "status" });
      if (!protect) continue;
      await client.ask({ do: "protect", on: false });
      await waitFor({ what: `the VM on ${role} to be protected no more`, timeout_ms: 10_000 }, async () => {
        const { opened } = await client.ask<AgentStatus>({ do: "status" });
        return opened.mode === "final" ? true : undefined;
      });
    }
  }

  /** What the scenario does with the VM that has arrived. */
  async #afterwards(
    fleet: StartedFleet,
    guest: GuestUnderTest,
    owner: StartedVm,
    {
      agents,
      startAgents,
      agentVms,
      machine,
      edge,
      lease_ms,
    }: {
      readonly agents: Agents;
      readonly startAgents: (turn: number) => Promise<Agents>;
      readonly agentVms: AgentVms;
      readonly machine: Machine;
      readonly edge: Edge;
      readonly lease_ms: number;
    },
  ): Promise<AfterwardsFindings | undefined> {
    const { scenario } = this.#request;
    const steps_before = (await guest.steps(owner)) ?? 0;
    switch (scenario.afterwards) {
      case undefined:
        return undefined;
      case "reboot": {
        await guest.reboot(owner);
        const memory = await guest.memory(owner);
        if (memory === undefined) throw new Error("this guest's memory cannot be looked at");
        return { what: `reset on ${owner.host.role}`, memory };
      }
      case "migrate-protected": {
        const { folder } = await agents.client("source").ask<AgentStatus>({ do: "status" });
        if (owner.host.role !== "source" || folder === null) throw new Error("the VM is not on the source");
        await agents.stop();
        edge.anew();
        const again = await startAgents(2);
        await again.client("source").ask({ do: "prepare", machine, start: "adopt", folder });
        await again.client("target").ask({ do: "prepare", machine, start: "incoming" });
        const migration = new TxsyncMigration({
          fleet,
          agents: again,
          memory_bytes: this.#request.memory_bytes,
          bytes_per_s: scenario.migration.bandwidth_bytes_per_s,
          timeline: this.#timeline,
          patience_ms: this.#looking.patience_ms,
          lease_ms,
          faultsOver: () => true,
          struck: () => false,
          prepareTarget: () => again.client("target").ask({ do: "prepare", machine, start: "incoming" }),
        });
        const settled = await migration.run();
        if (settled.owner !== "target") throw new Error(`the second migration: ${settled.how}`);
        const arrived = await agentVms.of("target");
        this.#vms.set("target", arrived);
        // It has all its memory: one step takes no longer for a large guest.
        await waitFor({ what: "the guest to go on after the second migration", timeout_ms: 5_000 }, async () =>
          ((await guest.steps(arrived)) ?? 0) > steps_before ? true : undefined,
        );
        await edge.count("target");
        const memory = await guest.memory(arrived);
        await again.stop();
        if (memory === undefined) throw new Error("this guest's memory cannot be looked at");
        return { what: "migrated again under txsync, from source to target", memory };
      }
    }
  }

  async #evidence(
    fleet: StartedFleet,
    guest: GuestUnderTest,
    settled: Settled,
    workload: { stop(): Promise<void> },
    held_still: boolean,
    agents?: {
      readonly edge: Edge;
      /** A VM that is protected for good is not any more: who looks at it stops it, and nobody else may by then. */
      readonly unprotect: () => Promise<void>;
      /** The agents let go of everything: what comes then is plain QEMU. */
      readonly released: () => Promise<void>;
      readonly afterwards: (owner: StartedVm) => Promise<AfterwardsFindings | undefined>;
    },
  ): Promise<Evidence> {
    const watching = watchProgress(
      guest,
      (["source", "target"] as const).map((host) => ({ host, vm: this.#vms.get(host) })),
      held_still ? "none" : settled.owner,
    );
    // While it is watched whether a second instance moves, the owner can already be asked about itself.
    const named = settled.owner === "none" ? undefined : this.#vms.get(settled.owner);
    const looked_at = named?.alive === true && !held_still && settled.arriving === undefined;
    const asked = looked_at && named !== undefined ? gather(() => guest.selfCheck(named)) : undefined;
    const progress = await watching;
    const seen = evidenceWithoutVm(guest, settled, progress, held_still);
    // Of two instances that move one may have been succeeded: who lets output out is seen while clients are at work.
    const two = agents !== undefined && movers(seen).length > 1;
    const succeeded = two ? { succeeded: (await agents.edge.succeeded(settled.owner)) ?? ("unheard" as const) } : {};
    await agents?.unprotect();
    await workload.stop();
    await agents?.edge.count(settled.owner);
    // What comes out while the VM is put through something afterwards belongs to it too.
    const toldByAgents = (): Pick<Evidence, "edge" | "violations"> =>
      agents === undefined ? {} : { edge: agents.edge.findings, violations: violationsIn(this.#timeline.events) };
    const without: Evidence = { ...seen, ...succeeded, ...toldByAgents() };
    // Whoever runs is what a client would meet, whatever the manager thinks of it: that instance is looked at.
    const moving = movers(without);
    const found = settled.owner === "none" ? moving[0] : settled.owner;
    const owner = found === undefined ? undefined : this.#vms.get(found);
    if (owner === undefined || !owner.alive || settled.arriving !== undefined) return without;
    if (held_still) {
      const source = this.#vms.get("source");
      const memory = await gather(() => guest.memory(owner));
      return {
        ...without,
        memory,
        still: await gather(() => auditStill(source, owner, this.#request.accel, this.#looking)),
      };
    }
    const self = await (asked ?? gather(() => guest.selfCheck(owner)));
    const memory = await gather(() => guest.memory(owner));
    const ledger = await gather(() => guest.ledger());
    const asked_afterwards = this.#request.scenario.afterwards !== undefined && agents !== undefined;
    const afterwards = asked_afterwards ? { afterwards: await gather(() => agents.afterwards(owner)) } : {};
    await agents?.released();
    if (agents !== undefined) await this.#keepLog(fleet.host("escrow"));
    const last = this.#request.scenario.afterwards === "migrate-protected" ? this.#vms.get("target") : owner;
    const again = await gather(() =>
      migrateAgain(
        fleet,
        guest,
        last ?? owner,
        this.#vms,
        (role) => this.#startVm(fleet, guest, role, { incoming: true, paused: false }),
        this.#looking,
      ),
    );
    return { ...without, ...toldByAgents(), memory, guest: self, ledger, again, ...afterwards };
  }

  async #startVm(
    fleet: StartedFleet,
    guest: GuestUnderTest,
    role: HostRole,
    how: { readonly incoming: boolean; readonly paused: boolean },
  ): Promise<StartedVm> {
    const { qemu_binary, qemu_version } = this.#environment;
    const { accel } = this.#request;
    const vm = await StartedVm.start(fleet.host(role), {
      ...guest.files,
      ...how,
      accel,
      qemu_binary,
      version_text: qemu_version,
      memory_bytes: this.#request.memory_bytes,
      emit: this.#timeline.emit,
      log: this.#logOf(role),
      onConsole: (line) => guest.onConsole(role, line),
    });
    this.#vms.set(role, vm);
    return vm;
  }

  /** The escrow's transaction log, for `ferryman log`; where there is none, or no escrow any more, nothing is kept. */
  async #keepLog(escrow: StartedHost): Promise<void> {
    try {
      if (!escrow.up) return;
      const names = (await escrow.run(`cd ${AGENT_FILES.memory_folder}-1/log && ls`)).trim().split("\n");
      const folder = join(this.#folder, "escrow-log");
      mkdirSync(folder, { recursive: true });
      for (const name of names) {
        const path = `${AGENT_FILES.memory_folder}-1/log/${name}`;
        const what = `the escrow's ${name} to be read`;
        const bytes = chunksOf(await escrow.readFile(path), { what, ...this.#looking });
        await pipeline(bytes, createWriteStream(join(folder, name)));
      }
    } catch (error) {
      this.#timeline.emit("run", { kind: "run.note", text: `the escrow's log was not kept: ${messageOf(error)}` });
    }
  }

  #logOf(role: HostRole): LogSink {
    return (name, line) => {
      const file = `${role}-${name}.log`;
      let stream = this.#files.get(file);
      if (!stream) {
        stream = createWriteStream(join(this.#folder, file));
        this.#files.set(file, stream);
      }
      stream.write(`${this.#timeline.now_ms.toFixed(3)} ${line}\n`);
    };
  }

  async #closeLogs(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => new Promise((resolve) => file.end(resolve))));
  }
}

/** What agents tell of rules that were broken, each with the host that tells of it. */
function violationsIn(events: readonly TimelineEvent[]): readonly string[] {
  return events.flatMap((event) => (event.kind === "violation" ? [`${event.lane}: ${event.why}`] : []));
}
