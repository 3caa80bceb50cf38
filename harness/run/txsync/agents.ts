import { randomBytes } from "node:crypto";
import type { DiskBus } from "../../base/configuration.ts";
import { messageOf } from "../../base/errors.ts";
import type { Emit, HostRole, TimelineEventBody } from "../../base/timeline.ts";
import { HOST_ROLES } from "../../base/timeline.ts";
import { waitFor } from "../../base/wait.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import { bulkAddress, linkAddress, storageAddress } from "../../fleet/links.ts";
import { MANAGEMENT_NAME, PORTS } from "../../fleet/ports.ts";
import type { HostProcess } from "../../fleet/process.ts";
import { makeOrders, TROUBLED } from "../../fleet/trouble.ts";
import { type LogSink, RAM_PATH } from "../../fleet/vm.ts";
import type { DiskNode } from "../../qemu/disk-devices.ts";
import type { AgentConfig } from "../../txsync/agent/config.ts";
import { AgentClient } from "./agent-client.ts";
import type { TxsyncSettings } from "./settings.ts";

/** For three processes to start and to answer; no guest is there yet. */
const UP_MS = 20_000;
/** For the VM's owner to go on without the escrow that is gone: leases and a vote. */
const LET_IN_MS = 20_000;
const ASK_AGAIN_MS = 100;
/** Exit code of a process that was ended by SIGKILL, as a shell tells it. */
const KILLED = "137";

/**
 * What runs the agent on a host: starts it again whenever it ends, as an init would, and tells its pid.
 */
const supervisor = (before: string): string => `
while :; do
  while [ -e ${AGENT_FILES.hold} ]; do sleep 0.05; done
  ${before} ${AGENT_FILES.node} ${AGENT_FILES.program} ${AGENT_FILES.config} &
  echo "agent-pid $!"
  wait $!
  echo "agent-ended $?"
  sleep 0.1
done`;

/** The agents of a run, one on each host, each under its supervisor. */
export class Agents implements AsyncDisposable {
  readonly #clients = new Map<HostRole, AgentClient>();
  readonly #supervisors = new Map<HostRole, HostProcess>();
  readonly #pids = new Map<HostRole, number>();
  readonly #configs = new Map<HostRole, AgentConfig>();
  readonly #fleet: StartedFleet;

  private constructor(fleet: StartedFleet) {
    this.#fleet = fleet;
  }

  static async start(
    fleet: StartedFleet,
    what: {
      readonly settings: TxsyncSettings;
      /** Counts the migrations of the run: each has folders of its own. */
      readonly turn: number;
      /** What whoever manages an agent has to show it. */
      readonly token: string;
      readonly qemu_binary: string;
      /** The VM's disks, as the storage host exports them. */
      readonly disks: readonly DiskNode[];
      readonly disk_bus?: DiskBus;
      /** For so long it is waited for. */
      readonly storage_patience_ms: number;
      /** Hosts on which the agent's files are to be able to fail, and its clocks to step. */
      readonly troubled?: readonly HostRole[];
      readonly emit: Emit;
      readonly log: (role: HostRole) => LogSink;
      readonly onEvent: (role: HostRole, event: TimelineEventBody) => void;
    },
  ): Promise<Agents> {
    const agents = new Agents(fleet);
    // What is asked for and when is no matter of theirs.
    const { protect_before: _, ...settings } = what.settings;
    const shared = {
      secret: randomBytes(32).toString("hex"),
      migration: randomBytes(16).toString("hex"),
      // All addresses: that on the fabric is another one after the host was taken off it and put back.
      listen: { host: "0.0.0.0", port: PORTS.link },
      listen_bulk: { host: "0.0.0.0", port: PORTS.bulk },
      control: { host: MANAGEMENT_NAME, port: PORTS.agent, token: what.token },
      state_folder: `${AGENT_FILES.state_folder}/${what.turn}`,
      memory_folder: `${AGENT_FILES.memory_folder}-${what.turn}`,
      ram_path: RAM_PATH,
      qemu: what.qemu_binary,
      pagescan: AGENT_FILES.pagescan,
      shim: AGENT_FILES.shim,
      keep_log: true,
      ...settings,
    };
    await Promise.all(
      HOST_ROLES.map(async (role) => {
        const host = fleet.host(role);
        const others = HOST_ROLES.filter((other) => other !== role);
        const peers = Object.fromEntries(
          others.map((other) => [other, { ...linkAddress(role, other), bulk_port: bulkAddress(role, other).port }]),
        );
        const { storage_patience_ms: patience_ms, disk_bus: bus = "blk" } = what;
        const names = what.disks.map(({ name }) => name);
        const qcow2 = what.disks.filter(({ format }) => format === "qcow2").map(({ name }) => name);
        const disks = { names, qcow2, storage: storageAddress(role), patience_ms, bus };
        const config: AgentConfig = { role, peers, ...shared, ...(what.disks.length === 0 ? {} : { disks }) };
        agents.#configs.set(role, config);
        await host.writeFile(AGENT_FILES.config, JSON.stringify(config));
        const troubled = what.troubled?.includes(role) === true;
        if (troubled) await makeOrders(host);
        const supervising = await host.spawn(["/bin/sh", "-c", supervisor(troubled ? TROUBLED : "")]);
        agents.#supervisors.set(role, supervising);
        const log = what.log(role);
        supervising.onLine((line, output) => {
          const pid = output === "stdout" ? /^agent-pid (\d+)$/.exec(line) : null;
          if (pid !== null) agents.#pids.set(role, Number(pid[1]));
          const ended = /^agent-ended (\d+)$/.exec(line)?.[1];
          // Its pid may soon be somebody else's.
          if (ended !== undefined) agents.#pids.delete(role);
          // Killed is what faults do; anything else it did by itself.
          if (ended !== undefined && ended !== KILLED)
            what.emit(role, { kind: "log", stream: "agent", line: `the agent ended by itself with code ${ended}` });
          log("agent", line);
          if (output === "stderr") what.emit(role, { kind: "log", stream: "agent", line });
        });
        agents.#clients.set(role, new AgentClient(host, what.token, (event) => what.onEvent(role, event)));
      }),
    );
    await waitFor(
      {
        what: "the agents to come up",
        timeout_ms: UP_MS,
        lastLines: () => [...agents.#supervisors].flatMap(([role, up]) => [`${role}:`, ...up.lastLines(4)]),
      },
      () => ([...agents.#clients.values()].every(({ connected }) => connected) ? true : undefined),
    );
    return agents;
  }

  client(role: HostRole): AgentClient {
    const client = this.#clients.get(role);
    if (client === undefined) throw new Error(`there is no agent on ${role}`);
    return client;
  }

  /** Pid inside the host, while it runs. */
  pid(role: HostRole): number | undefined {
    return this.#pids.get(role);
  }

  /** Whether the agent on a host that lives is away, and its supervisor will have it start, or has. @param timeout_ms to be told */
  async comesBack(role: HostRole, timeout_ms: number): Promise<boolean> {
    if (this.client(role).connected) return false;
    const held = await this.#fleet.host(role).run(`test -e ${AGENT_FILES.hold} && echo held || true`, timeout_ms);
    return held.trim() === "";
  }

  /**
   * As an operator: nothing is left of the escrow that there is, memory and disk included; another one stands at its address,
   * and is named to the agents until the one that has the VM takes it.
   * @throws WaitTimeoutError with what they say instead
   */
  async replaceEscrow(): Promise<void> {
    const host = this.#fleet.host("escrow");
    const config = this.#configs.get("escrow");
    if (config === undefined) throw new Error("there is no escrow that could be replaced");
    const key = randomBytes(16).toString("hex");
    const { hold } = AGENT_FILES;
    const pid = this.#pids.get("escrow");
    const kill = pid === undefined ? "true" : `kill -9 ${pid}`;
    await host.run(`touch ${hold}; ${kill}; rm -rf ${config.state_folder} ${config.memory_folder}`);
    await host.writeFile(AGENT_FILES.config, JSON.stringify({ ...config, escrow_key: key } satisfies AgentConfig));
    await host.run(`rm -f ${hold}`);
    let said = "";
    await waitFor(
      {
        what: "an agent to let another escrow in",
        timeout_ms: LET_IN_MS,
        interval_ms: ASK_AGAIN_MS,
        lastLines: () => [said],
      },
      async () => {
        for (const role of ["source", "target"] as const) {
          try {
            await this.client(role).ask({ do: "escrow", key });
            return true;
          } catch (error) {
            said = `${role}: ${messageOf(error)}`;
          }
        }
        return undefined;
      },
    );
  }

  /** Ends every agent; what they started goes on. */
  async stop(): Promise<void> {
    for (const client of this.#clients.values()) client[Symbol.dispose]();
    await Promise.all(
      [...this.#supervisors].map(async ([role, supervisor]) => {
        const host = this.#fleet.host(role);
        const pid = this.#pids.get(role);
        const kill = `kill -9 ${supervisor.pid}; ${pid === undefined ? "" : `kill -TERM ${pid} 2>/dev/null; `}true`;
        if (host.up) await host.run(kill).catch(() => undefined);
        supervisor[Symbol.dispose]();
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
