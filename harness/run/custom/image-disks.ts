import { createWriteStream } from "node:fs";
import { resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Configuration, DiskImage } from "../../base/configuration.ts";
import type { Recovery } from "../../base/run-record.ts";
import type { FleetHost, HostRole, STORAGE } from "../../base/timeline.ts";
import { within } from "../../base/wait.ts";
import type { ImageFindings } from "../../checks/images.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { SeenFile } from "../../fleet/container.ts";
import type { StartedFleet } from "../../fleet/fleet.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { PORTS } from "../../fleet/ports.ts";
import type { HostProcess } from "../../fleet/process.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { READ_ONLY_DISK } from "../../qemu/disk-devices.ts";
import { listensOn, lookUntilWell, serve } from "../storage-server.ts";
import { lookAtImage } from "./look-at-image.ts";
import { overlayFiles, overlayPath } from "./snapshot-files.ts";

/** Where the storage host sees the user's images, and what belongs to the run beside them. */
const IMAGES = "/images";
const SEED_FOLDER = "/dev/shm/seed";
const USER_DATA = "/images/user-data";
/** What the run writes, as overlays: in the storage host's memory, as with disks that the run makes itself. */
const OVERLAYS = "/dev/shm/overlays";
const EXPORTS = "/dev/shm/exports";
const SOCKET = "/dev/shm/images.sock";
/** What a run may write to its disks; only what is written takes memory. */
export const IMAGES_SHM_BYTES = 4 * 1024 ** 3;
const START_MS = 20_000;

export function hasImages({ images, cloud_init }: Configuration): boolean {
  return images !== undefined || cloud_init !== undefined;
}

/** Of the exports: images in their order, and the seed of cloud-init behind them. */
export function imageNames({ images = [], cloud_init }: Configuration): readonly string[] {
  return [...images.map((_, number) => `disk${number}`), ...(cloud_init === undefined ? [] : [READ_ONLY_DISK])];
}

/** What the storage host has to see of this machine. */
export function seenFiles({ images = [], cloud_init, snapshot }: Configuration): readonly SeenFile[] {
  return [
    ...(snapshot === undefined ? [] : overlayFiles(snapshot, images.length)),
    ...images.map(({ path }, number) => ({ local: resolve(path), path: `${IMAGES}/${number}` })),
    ...(cloud_init === undefined ? [] : [{ local: resolve(cloud_init), path: USER_DATA }]),
  ];
}

/** The images of the user's as disks of the run's VM: the storage host reads them, and keeps what the run writes beside. */
export class ImageDisks {
  readonly #host: StartedHost<typeof STORAGE>;
  readonly #images: readonly DiskImage[];

  readonly #exporter: HostProcess;

  private constructor(host: StartedHost<typeof STORAGE>, configuration: Configuration, exporter: HostProcess) {
    this.#exporter = exporter;
    this.#host = host;
    this.#images = configuration.images ?? [];
  }

  /** Lays an overlay over each image and exports it: to QEMUs themselves, or to agents by a server that tells generations apart. */
  static async make(
    fleet: StartedFleet,
    configuration: Configuration,
    recovery: Recovery,
    log: (host: FleetHost, line: string) => void,
  ): Promise<ImageDisks | undefined> {
    const host = fleet.storage;
    if (host === undefined) return undefined;
    const { images = [], cloud_init, snapshot } = configuration;
    const names = imageNames(configuration);
    const make = [
      `mkdir -p ${OVERLAYS} ${EXPORTS} ${SEED_FOLDER}`,
      ...images.map(({ format }, number) =>
        snapshot === undefined
          ? `qemu-img create -q -f qcow2 -b ${IMAGES}/${number} -F ${format} ${OVERLAYS}/disk${number}`
          : `qemu-img create -q -f qcow2 -b ${overlayPath(number)} -F qcow2 ${OVERLAYS}/disk${number}`,
      ),
      ...(cloud_init === undefined
        ? []
        : [
            `cp ${USER_DATA} ${SEED_FOLDER}/user-data`,
            `printf 'instance-id: ferryman\\nlocal-hostname: ferryman\\n' >${SEED_FOLDER}/meta-data`,
          ]),
      ...names.map((name) => `ln -s ${SOCKET} ${EXPORTS}/${name}`),
    ];
    await host.run(make.join(" && "), START_MS);
    const stock = recovery === "stock";
    const listen = stock
      ? `addr.type=inet,addr.host=0.0.0.0,addr.port=${PORTS.storage}`
      : `addr.type=unix,addr.path=${SOCKET}`;
    const blocks = names.flatMap((name) => [
      "--blockdev",
      name === READ_ONLY_DISK
        ? `driver=vvfat,node-name=${name},dir=${SEED_FOLDER},label=cidata,floppy=off,rw=off,read-only=on`
        : `driver=qcow2,node-name=${name},discard=unmap,file.driver=file,file.filename=${OVERLAYS}/${name}`,
    ]);
    const exports = names.flatMap((name) => [
      "--export",
      `type=nbd,id=${name},node-name=${name},name=${name},writable=${name === READ_ONLY_DISK ? "off" : "on"}`,
    ]);
    const daemon = ["qemu-storage-daemon", ...blocks, "--nbd-server", `${listen},max-connections=0`, ...exports];
    const what = "the images";
    const up = stock ? listensOn(PORTS.storage) : `test -S ${SOCKET}`;
    const exporter = await serve(host, daemon, { what, up }, log);
    const server = [AGENT_FILES.node, AGENT_FILES.program, "storage", EXPORTS, String(PORTS.storage)];
    if (!stock) await serve(host, server, { what, up: listensOn(PORTS.storage) }, log);
    return new ImageDisks(host, configuration, exporter);
  }

  /**
   * Nobody exports them any more; what was written since is put into files of this machine, one for each image. Whoever
   * uses them as disks has to have flushed and let go.
   */
  async save(pathOf: (number: number) => string): Promise<void> {
    const ended = within(
      { what: "the storage host to let go of the images", timeout_ms: START_MS },
      this.#exporter.exited,
    );
    await this.#host.run(`kill -TERM ${this.#exporter.pid}`);
    await ended;
    for (const [number] of this.#images.entries())
      await pipeline(await this.#host.readFile(`${OVERLAYS}/disk${number}`), createWriteStream(pathOf(number)));
  }

  /**
   * Stops every VM, as a loss of power would, and looks at what is stored. What was on its way from the VM's host to here by
   * then gets a moment to come.
   */
  async look(vms: ReadonlyMap<HostRole, StartedVm>): Promise<ImageFindings> {
    for (const vm of vms.values())
      if (vm.alive && vm.host.up && vm.running) await vm.control.execute("stop").catch(() => undefined);
    return await lookUntilWell(
      () => this.#look(),
      (found) =>
        found.every(
          ({ format, filesystems }) => format === undefined && filesystems.every(({ fsck }) => fsck === undefined),
        ),
    );
  }

  async #look(): Promise<ImageFindings> {
    const found: ImageFindings[number][] = [];
    for (const [number, { format }] of this.#images.entries()) {
      const name = `disk${number}`;
      const image = { path: `${IMAGES}/${number}`, format };
      found.push(await lookAtImage(this.#host, { name, overlay: `${OVERLAYS}/${name}`, image }));
    }
    return found;
  }
}
