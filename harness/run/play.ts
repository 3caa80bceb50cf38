import { type Configuration, disksOf, type GuestDisk, isLibvirt } from "../base/configuration.ts";
import { type FleetHost, HOST_ROLES, type HostRole, type RunPhase } from "../base/timeline.ts";
import { pause } from "../base/wait.ts";
import type { FaultContext } from "../faults/index.ts";
import { type FleetSpec, startFleet } from "../fleet/fleet.ts";
import { ensureStorageImage } from "../fleet/images.ts";
import { hostShmBytes } from "../fleet/shm.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { configurationOf, managerOf } from "./configure.ts";
import { hasImages, IMAGES_SHM_BYTES, ImageDisks, seenFiles } from "./custom/image-disks.ts";
import { stateFiles } from "./custom/snapshot-files.ts";
import { needsImageTools, StoredDisks, storageShmBytes } from "./disks.ts";
import { gatherEvidence } from "./evidence.ts";
import { firmwareOf } from "./firmware.ts";
import { makeGuest } from "./guests/index.ts";
import { HostLogs } from "./host-logs.ts";
import { DEFAULT_PATIENCE_MS, lookingWith } from "./looking.ts";
import type { EvidenceDraft } from "./looks.ts";
import { Nemesis } from "./nemesis.ts";
import { Network } from "./net/network.ts";
import { RECOVERIES } from "./recoveries.ts";
import type { RunContext } from "./recovery.ts";
import { qemuOf, type RunEnvironment, type RunRequest } from "./request.ts";
import { ProgressSampler } from "./sampler.ts";
import type { Settled } from "./settled.ts";
import type { Timeline } from "./timeline.ts";
import { UsageSampler } from "./usage.ts";

async function storageOf(
  { docker, signal, storage_image, images_image }: RunEnvironment,
  own: readonly GuestDisk[],
  configuration: Configuration,
): Promise<NonNullable<FleetSpec["storage"]>> {
  const images = needsImageTools(configuration);
  const known = images ? images_image : storage_image;
  const image = known ?? (await ensureStorageImage(docker, { say: () => undefined, signal, images }));
  if (!hasImages(configuration)) return { image, shm_bytes: storageShmBytes(own) };
  return { image, shm_bytes: IMAGES_SHM_BYTES, read_only: seenFiles(configuration) };
}

/** One run while it goes on: from nothing to evidence. */
export class Play {
  readonly #environment: RunEnvironment;
  readonly #request: RunRequest;
  readonly #id: string;
  readonly #folder: string;
  readonly #timeline: Timeline;
  /** How often the migration was asked for; undefined before it was, and where nobody asks again. */
  tries: number | undefined;

  constructor(run: {
    readonly environment: RunEnvironment;
    readonly request: RunRequest;
    readonly id: string;
    readonly folder: string;
    readonly timeline: Timeline;
  }) {
    this.#environment = run.environment;
    this.#request = run.request;
    this.#id = run.id;
    this.#folder = run.folder;
    this.#timeline = run.timeline;
  }

  /** Whatever was started is gone afterwards, however it ended. */
  async run(): Promise<EvidenceDraft> {
    const [environment, request] = [this.#environment, this.#request];
    const looking = lookingWith(request.patience_ms ?? DEFAULT_PATIENCE_MS, this.#timeline.emit);
    const configuration = configurationOf(request);
    const own = disksOf(configuration);
    const with_images = hasImages(configuration);
    const guest = makeGuest(request.guest, {
      seed: request.seed,
      memory_bytes: request.memory_bytes,
      accel: request.accel,
      emit: this.#timeline.emit,
      work: { ...request.scenario.work, ...request.work },
      disks: own.map(({ kind }) => kind),
      disk_bus: configuration.disk_bus ?? "blk",
      vcpus: configurationOf(request).vcpus ?? 1,
      ...(configuration.net === undefined ? {} : { net: configuration.net }),
      configuration,
      ...(request.scenario.client === undefined ? {} : { client: request.scenario.client }),
      looking,
    });
    await using stack = new AsyncDisposableStack();
    const logs = stack.use(new HostLogs(this.#folder, this.#timeline));
    this.#enter("fleet");
    const fleet = await startFleet(environment.docker, {
      run: this.#id,
      host_image: environment.host_image,
      host_images: Object.fromEntries(HOST_ROLES.map((role) => [role, qemuOf(environment, role).host_image])),
      toxiproxy_image: environment.toxiproxy_image,
      ...(own.length === 0 && !with_images ? {} : { storage: await storageOf(environment, own, configuration) }),
      shm_bytes: hostShmBytes(request.memory_bytes),
      ...(configuration.snapshot === undefined ? {} : { source_files: stateFiles(configuration.snapshot) }),
      devices: request.accel === "kvm" ? ["/dev/kvm"] : [],
      libvirt: isLibvirt(managerOf(request)),
      outside: configurationOf(request).net !== undefined,
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
      this.#enter("teardown");
      if (!request.keep || environment.signal.aborted) await takeDown();
    });
    const vms = new Map<HostRole, StartedVm>();
    stack.defer(async () => {
      for (const vm of vms.values()) await vm[Symbol.asyncDispose]();
    });
    // Taking the fleet away makes everything that waits fail: that is how an interrupted run ends at once.
    const interrupt = (): void => void takeDown().catch(() => undefined);
    environment.signal.addEventListener("abort", interrupt, { once: true });
    stack.defer(() => environment.signal.removeEventListener("abort", interrupt));
    environment.signal.throwIfAborted();
    const timeline = this.#timeline;
    const note = (host: FleetHost, line: string): void => timeline.emit(host, { kind: "run.note", text: line });
    const disks = own.length === 0 ? undefined : await StoredDisks.make(fleet, own, request, note);
    const images = with_images ? await ImageDisks.make(fleet, configuration, request.recovery, note) : undefined;
    try {
      return await this.#carry({
        environment,
        request,
        folder: this.#folder,
        fleet,
        ...(disks === undefined ? {} : { disks }),
        ...(images === undefined ? {} : { images }),
        guest,
        timeline,
        looking,
        logs,
        vms,
      });
    } finally {
      // What is seen of a fleet that is being taken away says nothing about the VM, whether it looks like an error or not.
      environment.signal.throwIfAborted();
    }
  }

  /** Says where the run is: from when to when its phases went, a reader of the timeline knows (checks/timings.ts). */
  #enter(phase: RunPhase): void {
    this.#timeline.emit("run", { kind: "run.phase", phase });
  }

  /** Boots the VM, has it carried over while faults strike, and looks at what has arrived. */
  async #carry(context: RunContext): Promise<EvidenceDraft> {
    const { request, fleet, guest, vms } = context;
    const timeline = this.#timeline;
    const { turns, signal } = this.#environment;
    using booting = await turns?.vm.take(signal);
    using held = new DisposableStack();
    await using stack = new AsyncDisposableStack();
    this.#enter("boot");
    await guest.put?.(fleet);
    const recovery = stack.use(RECOVERIES[request.recovery](context));
    const started = await recovery.start();
    // A guest that wants to be reached has no client of ours.
    const client = guest.can.includes("network");
    const network = fleet.outside && stack.use(await Network.start(fleet.outside, recovery.cable(), { client }));
    stack.defer(() => guest.end?.());
    guest.onNetwork?.(network?.reach);
    await guest.booted(started);
    // While the clients come to work. Where its blocks cannot be told apart nobody looks at them.
    const firmware = recovery.edge === undefined ? undefined : firmwareOf(started).catch(() => undefined);
    this.#enter("work");
    const clients = guest.workload();
    stack.defer(() => clients.stop());
    const arrived = recovery.lead(clients);
    await clients.warmedUp();
    await network?.warmedUp(context.looking);
    held.use(await turns?.processors.take(signal));
    await network?.storm(request.scenario.work?.storm_datagrams_per_s ?? 0);
    const striking: FaultContext = {
      fleet,
      pid: recovery.pid,
      monitor: (role, which) => vms.get(role)?.[which],
      ...(recovery.manager === undefined ? {} : { manager: recovery.manager }),
      ...(recovery.replaceEscrow === undefined ? {} : { replaceEscrow: recovery.replaceEscrow }),
      storage: context.disks,
    };
    const nemesis = new Nemesis(request.scenario.faults, timeline, striking, recovery);
    await nemesis.prepare();
    await using usage = await UsageSampler.start(fleet, (role) => recovery.daemon(role), timeline);
    await using sampler = new ProgressSampler(guest, vms, timeline);
    if (request.watch_ms !== undefined) await pause(request.watch_ms, signal);
    const seen = { network, firmware: await firmware };
    this.#enter("migrate");
    let settled: Settled | undefined;
    try {
      settled = await recovery.migrate(nemesis);
      await nemesis.dueStruck(signal);
    } finally {
      await nemesis.stop(settled?.how);
    }
    await Promise.all([sampler[Symbol.asyncDispose](), usage[Symbol.asyncDispose]()]);
    this.tries = settled.tries;
    booting?.[Symbol.dispose]();
    timeline.emit("run", { kind: "run.settled", how: settled.how, owner: settled.owner });
    this.#enter("check");
    arrived(settled.owner);
    return await gatherEvidence(context, recovery, settled, clients, seen);
  }
}
