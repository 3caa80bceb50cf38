import { randomBytes } from "node:crypto";
import { STORAGE_PATIENCE_MS_DEFAULT } from "../../base/configuration.ts";
import { messageOf } from "../../base/errors.ts";
import { LineCutter } from "../../base/lines.ts";
import type { HostRole, TimelineEventBody } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import type { AfterwardsFindings } from "../../checks/afterwards.ts";
import type { Evidence } from "../../checks/evidence.ts";
import type { OutputFindings } from "../../checks/output.ts";
import { type FaultContext, troublesAgent } from "../../faults/index.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { CARD_CHANNEL } from "../../txsync/device/network-card.ts";
import { configurationOf, planOf } from "../configure.ts";
import { diskNodesOf } from "../disks.ts";
import type { Workload } from "../guests/guest.ts";
import type { Cable } from "../net/network.ts";
import { vmMachineOf } from "../plain-vm.ts";
import type { FaultsSeen, RecoveryUnderTest, RunContext } from "../recovery.ts";
import type { Settled } from "../settled.ts";
import type { AgentStatus } from "./agent-client.ts";
import { agentMachine } from "./agent-machine.ts";
import { AgentVms } from "./agent-vms.ts";
import { Agents } from "./agents.ts";
import { Edge } from "./edge.ts";
import { keepEscrowLog } from "./escrow-log.ts";
import { TxsyncMigration } from "./migration.ts";
import { goesAhead, settingsFor, type TxsyncSettings } from "./settings.ts";
import { unprotectedBy } from "./unprotect.ts";

/** For a guest that has all its memory to do a step: it takes no longer for a large one. */
const STEP_MS = 5_000;
const NO_FAULTS: FaultsSeen = { done: true, struck: false, due: false, healing: false };

/** Under txsync: agents have the VMs, the links and the decisions; the harness asks once and watches. */
export class TxsyncRecovery implements RecoveryUnderTest {
  readonly #context: RunContext;
  readonly #settings: TxsyncSettings;
  readonly #token = randomBytes(32).toString("hex");
  readonly #edge: Edge;
  readonly #vms: AgentVms;
  readonly #stack = new AsyncDisposableStack();
  #current: Agents | undefined;

  constructor(context: RunContext) {
    const { request, fleet, logs, timeline, vms } = context;
    this.#context = context;
    const { memory_bytes, scenario } = request;
    const before = request.txsync?.protect_before ?? scenario.txsync?.protect_before ?? false;
    const memory_ahead = goesAhead(scenario.faults, before);
    this.#settings = settingsFor(memory_bytes, { memory_ahead, ...scenario.txsync }, request.txsync);
    this.#edge = this.#stack.use(new Edge((role) => fleet.host(role), this.#token));
    this.#vms = new AgentVms({ fleet, edge: this.#edge, emit: timeline.emit, log: logs.of, vms });
  }

  get #agents(): Agents {
    if (this.#current === undefined) throw new Error("no agents were started");
    return this.#current;
  }

  async start(): Promise<StartedVm> {
    this.#followConsoles();
    this.#current = await this.#startAgents(1);
    const start = this.#context.request.scenario.protect === undefined ? "incoming" : "nothing";
    await Promise.all([this.#prepare("source", { start: "boot" }), this.#prepare("target", { start })]);
    return await this.#vms.of("source");
  }

  /** The first serial line is the console: what is let out on it is what the guest has said. */
  #followConsoles(): void {
    const { guest, logs } = this.#context;
    // One line, wherever the VM is: half of it may come from one host and the other half from another.
    const console = new LineCutter();
    this.#edge.onFrame((channel, bytes, from) => {
      if (channel !== 0) return;
      for (const line of console.push(bytes.toString("latin1"))) {
        logs.of(from)("console", line);
        guest.onConsole(from, line);
      }
    });
  }

  async #startAgents(turn: number): Promise<Agents> {
    const { environment, fleet, logs, timeline, request } = this.#context;
    const troubled = request.scenario.faults.flatMap(({ fault }) => (troublesAgent(fault) ? [fault.host] : []));
    return this.#stack.use(
      await Agents.start(fleet, {
        settings: this.#settings,
        turn,
        token: this.#token,
        qemu_binary: environment.qemu_binary,
        disks: diskNodesOf(configurationOf(request)),
        disk_bus: configurationOf(request).disk_bus ?? "blk",
        storage_patience_ms: configurationOf(request).storage_patience_ms ?? STORAGE_PATIENCE_MS_DEFAULT,
        troubled,
        emit: timeline.emit,
        log: logs.of,
        onEvent: (role, event) => this.#heard(role, event),
      }),
    );
  }

  #heard(role: HostRole, event: TimelineEventBody): void {
    const { logs, timeline } = this.#context;
    if (event.kind === "qemu.started") this.#vms.started(role, event.pid);
    if (event.kind === "qemu.exited") this.#vms.ended(role, event.last_lines);
    if (event.kind === "gate.released") this.#edge.marked(role, event.n);
    if (event.kind === "run.note") logs.of(role)("agent", event.text);
    timeline.emit(event.kind.startsWith("migration.") ? "migration" : role, event);
  }

  async #prepare(
    role: HostRole,
    how: { readonly start: "boot" | "incoming" | "nothing" } | { readonly start: "adopt"; readonly folder: string },
  ): Promise<void> {
    const hold = this.#context.request.scenario.migration.hold_target === true;
    const { ram: _, ...machine } = vmMachineOf(this.#context, role);
    await this.#agents.client(role).ask({ do: "prepare", machine: agentMachine({ ...machine, hold }), ...how });
  }

  /** The world outside knows one line; behind it the VM may be anywhere. */
  lead(clients: Workload): () => void {
    const edge = this.#edge;
    clients.moveTo({
      alive: true,
      com2: async () => edge.line(1),
      host: {
        get role() {
          return edge.from;
        },
      },
    });
    return () => undefined;
  }

  cable(): Cable {
    const edge = this.#edge;
    return {
      onFrame: (listener) =>
        edge.onFrame((channel, bytes, from) => {
          if (channel === CARD_CHANNEL) listener(bytes, from);
        }),
      send: (frame) => edge.type(CARD_CHANNEL, frame),
    };
  }

  readonly pid: FaultContext["pid"] = (role, process) =>
    process === "qemu" ? this.#vms.pid(role) : this.#agents.pid(role);

  daemon(role: HostRole): number | undefined {
    return this.#agents.pid(role);
  }

  readonly replaceEscrow = (): Promise<void> => this.#agents.replaceEscrow();

  async migrate(faults: FaultsSeen): Promise<Settled> {
    const { fleet, request, timeline, looking } = this.#context;
    const settled = await new TxsyncMigration({
      fleet,
      agents: this.#agents,
      memory_bytes: request.memory_bytes,
      bytes_per_s: planOf(request).bandwidth_bytes_per_s,
      timeline,
      patience_ms: looking.patience_ms,
      lease_ms: this.#settings.lease_ms,
      protect: this.#protects(),
      faultsOver: () => faults.done,
      due: () => faults.due,
      healing: () => faults.healing,
      struck: () => faults.struck,
      prepareTarget: () => this.#prepare("target", { start: "incoming" }),
    }).run();
    if (settled.owner !== "none") await this.#met(settled.owner);
    return settled;
  }

  /**
   * An agent's answer may come before its word that it has started another QEMU: whoever looks at the VM now has to look
   * at that one. Its monitors are waited for; where they do not answer that is said, and what is seen is judged.
   */
  async #met(owner: HostRole): Promise<void> {
    const { looking, timeline, vms } = this.#context;
    const client = this.#agents.client(owner);
    if (!client.connected) return;
    try {
      const { qemu } = await client.ask<AgentStatus>({ do: "status" });
      if (qemu === null) return;
      await waitFor({ what: `the monitors of QEMU ${qemu} on ${owner}`, timeout_ms: looking.patience_ms }, () =>
        vms.get(owner)?.process.pid === qemu ? true : undefined,
      );
    } catch (error) {
      timeline.emit("run", { kind: "run.note", text: messageOf(error) });
    }
  }

  /** What the source's agent is asked for, and in which order. */
  #protects(): "no" | "alone" | "first" {
    if (this.#context.request.scenario.protect === "alone") return "alone";
    return this.#settings.protect_before ? "first" : "no";
  }

  get goes_on_protected(): boolean {
    return this.#settings.protect === "always";
  }

  /** As an operator would: the agent of who has a VM that is protected is told that this is enough. */
  async unprotect(owner: HostRole | "none"): Promise<string | undefined> {
    const { fleet, timeline } = this.#context;
    for (const role of ["source", "target"] as const) {
      if (owner !== "none" && owner !== role) continue;
      const client = this.#agents.client(role);
      if (!fleet.host(role).up || !client.connected) continue;
      const said = await unprotectedBy(role, client).catch(messageOf);
      if (said === undefined) continue;
      timeline.emit("run", { kind: "run.note", text: said });
      return said;
    }
    return undefined;
  }

  async succeeded(owner: HostRole | "none"): Promise<Pick<Evidence, "succeeded">> {
    return { succeeded: (await this.#edge.succeeded(owner)) ?? "unheard" };
  }

  count(owner: HostRole | "none"): Promise<void> {
    return this.#edge.count(owner !== "none");
  }

  readonly edge = (): OutputFindings => this.#edge.findings;

  readonly afterwards = async (owner: StartedVm): Promise<AfterwardsFindings | undefined> => {
    switch (this.#context.request.scenario.afterwards) {
      case undefined:
        return undefined;
      case "reboot":
        return await this.#reboot(owner);
      case "migrate-protected":
        return await this.#migrateProtected(owner);
    }
  };

  async #reboot(owner: StartedVm): Promise<AfterwardsFindings> {
    const { guest } = this.#context;
    await guest.reboot(owner);
    // It is at work on its disks again, and the plain QEMU by which it is migrated again may only read them.
    if (guest.can.includes("disks")) await guest.disks(owner);
    return { what: `reset on ${owner.host.role}`, memory: await this.#memory(owner) };
  }

  /** Carries a VM that was restored on the source over once more, with new agents that take it as it runs. */
  async #migrateProtected(owner: StartedVm): Promise<AfterwardsFindings> {
    const { guest, vms } = this.#context;
    const steps_before = (await guest.steps(owner)) ?? 0;
    const { folder } = await this.#agents.client("source").ask<AgentStatus>({ do: "status" });
    if (owner.host.role !== "source" || folder === null) throw new Error("the VM is not on the source");
    await this.#agents.stop();
    this.#edge.anew();
    this.#current = await this.#startAgents(2);
    await this.#prepare("source", { start: "adopt", folder });
    await this.#prepare("target", { start: "incoming" });
    const settled = await this.migrate(NO_FAULTS);
    if (settled.owner !== "target") throw new Error(`the second migration: ${settled.how}`);
    const arrived = await this.#vms.of("target");
    vms.set("target", arrived);
    await waitFor({ what: "the guest to go on after the second migration", timeout_ms: STEP_MS }, async () =>
      ((await guest.steps(arrived)) ?? 0) > steps_before ? true : undefined,
    );
    await this.#edge.count();
    const memory = await this.#memory(arrived);
    await this.#agents.stop();
    return { what: "migrated again under txsync, from source to target", memory };
  }

  async #memory(vm: StartedVm): Promise<AfterwardsFindings["memory"]> {
    const { guest } = this.#context;
    const memory = await guest.memory(vm);
    if (memory !== undefined) return memory;
    // What cannot be looked at from outside looks at itself.
    const checked = await guest.selfCheck(vm);
    if (checked === undefined)
      throw new Error("this guest's memory cannot be looked at, and it does not look by itself");
    const { pages_checked, bad_count, errors } = checked;
    return { step: (await guest.steps(vm)) ?? 0, pages_checked, bad_count: bad_count + errors, bad: [] };
  }

  async release(): Promise<void> {
    await this.#agents.stop();
    await keepEscrowLog(this.#context);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
