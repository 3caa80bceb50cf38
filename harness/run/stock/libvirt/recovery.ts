import { whileMoving } from "../../../base/patience.ts";
import type { HostRole } from "../../../base/timeline.ts";
import { waitFor } from "../../../base/wait.ts";
import type { MigrateAgainFindings } from "../../../checks/migrate-again.ts";
import type { FaultContext, ManagerProcesses } from "../../../faults/index.ts";
import type { StartedVm } from "../../../fleet/vm.ts";
import { queryMigrate } from "../../../qemu/migration-api.ts";
import { configurationOf, managerOf, planOf } from "../../configure.ts";
import { vmMachineOf } from "../../plain-vm.ts";
import type { RecoveryUnderTest } from "../../recovery.ts";
import { qemuOf } from "../../request.ts";
import type { Settled } from "../../settled.ts";
import { type LibvirtContext, LibvirtManager, ResumingLibvirtManager } from "../managers/libvirt.ts";
import { StockMigration } from "../migration.ts";
import { StockRecovery } from "../recovery.ts";
import { LibvirtDaemon } from "./daemon.ts";
import { diskElements, wordsForDisks } from "./disks.ts";
import { DOMAIN, domainXml, PID_PATH } from "./domain.ts";
import { ask, askFor } from "./virsh.ts";
import { findVm, followLogs } from "./vm.ts";

const XML_PATH = "/run/ferryman/vm.xml";
/** For libvirt to start a QEMU; it may have to ask it first what it can. */
const CREATE_MS = 30_000;
/** For a guest that has arrived to do its next step: it has all its memory. */
const PROGRESS_MS = 10_000;
/** For libvirt to notice that a QEMU of its own has ended. */
const LET_GO_MS = 3_000;
/** Pre-copy may stand the guest still after so long: what is asked is whether the VM is whole. */
const STILL_AFTER_S = 3;

interface ManagedHost {
  readonly daemon: LibvirtDaemon;
  /** What QEMU has written. */
  readonly lines: string[];
}

/** QEMU under the real libvirt, on both hosts. Its output goes straight to the world. */
export class LibvirtRecovery extends StockRecovery implements RecoveryUnderTest {
  readonly #hosts = new Map<HostRole, ManagedHost>();
  #manager: LibvirtManager | undefined;

  override async start(): Promise<StartedVm> {
    const { fleet, timeline, vms } = this.context;
    const [source] = await Promise.all([this.#managed("source"), this.#managed("target")]);
    const host = fleet.host("source");
    const emulator = (await host.run("readlink -f $(command -v qemu-system-x86_64)")).trim();
    const disks = diskElements(configurationOf(this.context.request), "source");
    await host.writeFile(XML_PATH, domainXml(vmMachineOf(this.context, "source"), emulator, disks));
    const { code, said } = await askFor(host, ["create", XML_PATH], timeline.emit, CREATE_MS);
    if (code !== 0) throw new Error(`libvirt did not start the VM: ${said}`);
    const vm = await this.#find("source", source, () => false);
    if (vm === undefined) throw new Error("libvirt's VM is not there");
    vms.set("source", vm);
    return vm;
  }

  /** Starts libvirt on a host where it does not run. */
  async #managed(role: HostRole): Promise<ManagedHost> {
    const there = this.#hosts.get(role);
    if (there !== undefined) {
      await there.daemon.start();
      return there;
    }
    const { fleet, timeline, logs, guest } = this.context;
    const host = fleet.host(role);
    const { lines } = await followLogs(host, {
      emit: timeline.emit,
      log: logs.of(role),
      onConsole: (line) => guest.onConsole(role, line),
    });
    const daemon = new LibvirtDaemon(host, timeline.emit, logs.of(role));
    const made: ManagedHost = { daemon, lines };
    this.#hosts.set(role, made);
    await daemon.install();
    return made;
  }

  async #find(role: HostRole, { lines }: ManagedHost, over: () => boolean): Promise<StartedVm | undefined> {
    const { environment, fleet, timeline, logs } = this.context;
    return await findVm(fleet.host(role), {
      emit: timeline.emit,
      log: logs.of(role),
      version_text: qemuOf(environment, role).qemu_version,
      lines,
      over,
    });
  }

  readonly manager: FaultContext["manager"] = (role): ManagerProcesses | undefined => {
    const managed = this.#hosts.get(role);
    if (managed === undefined) return undefined;
    return {
      killDaemon: () => managed.daemon.kill(),
      startDaemon: () => managed.daemon.start(),
      killClient: async () => {
        if (role !== "source" || this.#manager === undefined) throw new Error(`no virsh runs on ${role}`);
        await this.#manager.killClient();
      },
    };
  };

  override async migrate(): Promise<Settled> {
    const { request, timeline, looking, vms } = this.context;
    const [source, hosts] = [vms.get("source"), this.#hosts];
    const [from, to] = [hosts.get("source"), hosts.get("target")];
    if (source === undefined || from === undefined || to === undefined) throw new Error("no VM was started");
    const plan = planOf(request);
    const configuration = configurationOf(request);
    const context: LibvirtContext = {
      source,
      plan,
      configuration,
      words: await wordsForDisks(configuration, source.host, "target"),
      timeline,
      daemons: { source: from.daemon, target: to.daemon },
      findTarget: async (over) => {
        const target = await this.#find("target", to, over);
        if (target !== undefined) vms.set("target", target);
        return target;
      },
    };
    this.#manager =
      managerOf(request) === "libvirt:resume" ? new ResumingLibvirtManager(context) : new LibvirtManager(context);
    const settled = await new StockMigration({
      source,
      plan,
      timeline,
      manager: this.#manager,
      patience_ms: looking.patience_ms,
    }).run();
    // What libvirt believes when it is over stands beside what is so.
    await Promise.all([from, to].map(({ daemon }) => daemon.looked()));
    return settled;
  }

  /** Has libvirt carry the VM over to another host, by pre-copy, on a way of its own, and sees it go on there. */
  readonly migrateAgain = async (owner: StartedVm): Promise<MigrateAgainFindings> => {
    const { fleet, guest, vms, timeline, looking, request } = this.context;
    const from = owner.host.role;
    const to = (["source", "target", "escrow"] as const).find((role) => role !== from && fleet.host(role).up);
    if (to === undefined) throw new Error("no other host is left to migrate to");
    for (const role of [from, to]) await fleet.host(role).attachToFabric();
    await vms.get(to)?.quit();
    vms.delete(to);
    const next = await this.#managed(to);
    await this.#managed(from);
    await this.#forgotten(to, next);
    const steps_before = (await guest.steps(owner)) ?? 0;
    const way = await fleet.openLibvirtWay(from, to);
    const how = ["--live", "--p2p", "--timeout", String(STILL_AFTER_S), "--timeout-suspend"];
    const words = await wordsForDisks(configurationOf(request), owner.host, to);
    const where = ["--migrateuri", `tcp://${way.stream}`, DOMAIN, `qemu+tcp://${way.control}/system`];
    const { answered } = await ask(owner.host, ["migrate", ...how, ...words, ...where], timeline.emit);
    let answer: Awaited<typeof answered> | undefined;
    void answered.then((one) => {
      answer = one;
    });
    const vm = await this.#find(to, next, () => answer !== undefined);
    let transferred_bytes = 0;
    const what = `libvirt's second migration, from ${from} to ${to}`;
    await whileMoving({ what, ...looking, moves: () => `${transferred_bytes} bytes` }, async () => {
      if (answer !== undefined && answer.code !== 0) throw new Error(`${what}, failed: ${answer.said}`);
      if (answer !== undefined) return true;
      const { ram } = await queryMigrate(owner.watch).catch(() => ({ ram: undefined }));
      transferred_bytes = ram?.transferred ?? transferred_bytes;
      return undefined;
    });
    if (vm === undefined) throw new Error(`${what}: its VM was not seen on ${to}`);
    vms.set(to, vm);
    const steps_after = await waitFor(
      { what: `the guest to go on at ${to} after the second migration`, timeout_ms: PROGRESS_MS },
      async () => {
        const now = await guest.steps(vm);
        return now !== undefined && now > steps_before ? now : undefined;
      },
    );
    return { from, to, steps_before, steps_after };
  };

  /**
   * Sees libvirt let go of the VM that it had on a host and whose QEMU has ended. It may wait for the end of a migration that
   * it will never be told of (its link was cut for good): then it is started anew, as an operator does, and finds it gone.
   */
  async #forgotten(role: HostRole, { daemon }: ManagedHost): Promise<void> {
    const host = this.context.fleet.host(role);
    const forgotten = async (): Promise<true | undefined> =>
      (await host.run(`test -e ${PID_PATH} || echo gone`)).trim() === "gone" ? true : undefined;
    const what = `libvirt on ${role} to let go of its VM`;
    if (await waitFor({ what, timeout_ms: LET_GO_MS }, forgotten).catch(() => undefined)) return;
    this.context.timeline.emit(role, {
      kind: "run.note",
      text: "libvirtd does not let go of a VM that ended: started anew",
    });
    await daemon.restart();
    await waitFor({ what, timeout_ms: LET_GO_MS }, forgotten);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const { daemon } of this.#hosts.values()) daemon.close();
  }
}
