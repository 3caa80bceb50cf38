import {
  type Configuration,
  type DiskKind,
  disksOf,
  type GuestDisk,
  STORAGE_PATIENCE_MS_DEFAULT,
} from "../base/configuration.ts";
import { PAGE_BYTES } from "../base/page.ts";
import type { FleetHost, HostRole, STORAGE } from "../base/timeline.ts";
import { within } from "../base/wait.ts";
import type { DiskFindings } from "../checks/disk-history.ts";
import type { DisksTold } from "../checks/view.ts";
import type { StorageServer } from "../faults/index.ts";
import { AGENT_FILES } from "../fleet/agent-files.ts";
import type { StartedFleet } from "../fleet/fleet.ts";
import type { StartedHost } from "../fleet/host.ts";
import { storageAddress } from "../fleet/links.ts";
import { PORTS } from "../fleet/ports.ts";
import type { HostProcess } from "../fleet/process.ts";
import { expectedFiles, RAW_SLOTS, type WrongRecord, wrongInFile, wrongInRing } from "../guests/linux/disk-records.ts";
import { type DiskNode, diskDevices } from "../qemu/disk-devices.ts";
import { hasImages, imageNames } from "./custom/image-disks.ts";
import { checkQcow2 } from "./qcow2-check.ts";
import type { RunRequest } from "./request.ts";
import { listensOn, lookUntilWell, serve } from "./storage-server.ts";

/** In the storage host's memory: what its disk would do to a run is the machine's matter, not the run's. */
const FOLDER = "/dev/shm/disks";
/** A file system has a journal of 4 MiB, and eight files of the guest's. */
const BYTES: Readonly<Record<DiskKind, number>> = { raw: 4 * 1024 ** 2, ext4: 32 * 1024 ** 2 };
/**
 * The export of a qcow2 is larger than what it can hold at once: NBD does not grow, and its own tables and what leaks where
 * a write fails come on top. Its clusters are small: for as long as the guest writes to new places these tables change.
 */
const QCOW2_TIMES = 2;
const QCOW2_CLUSTER_BYTES = 4096;
const START_MS = 15_000;
const LOOK_MS = 30_000;

/** Of a qcow2: what it is made of, and what it is read as. */
const MADE = "/dev/shm/made";
const READ = "/dev/shm/read";

/** Room on the storage host for the images and what is taken out of them, bytes. */
export function storageShmBytes(disks: readonly GuestDisk[]): number {
  const of = ({ kind, format }: GuestDisk): number => (format === "qcow2" ? QCOW2_TIMES + 2 : 2) * BYTES[kind];
  return 64 * 1024 ** 2 + disks.reduce((sum, disk) => sum + of(disk), 0);
}

/** Whether the storage host has to have programs that know images' formats. */
export function needsImageTools(configuration: Configuration): boolean {
  return hasImages(configuration) || disksOf(configuration).some(({ format }) => format === "qcow2");
}

/** The VM's disks as QEMU has them: those of the Linux guest, or images of the user's. What an image is is the storage's affair. */
export function diskNodesOf(configuration: Configuration): readonly DiskNode[] {
  return [
    ...disksOf(configuration).map(({ format }, number) => ({ name: `disk${number}`, format })),
    ...imageNames(configuration).map((name) => ({ name, format: "raw" as const })),
  ];
}

/** QEMU's arguments for the VM's disks, where it reaches the storage by itself. */
export function diskArgs(configuration: Configuration, role: HostRole): readonly string[] {
  const { disk_bus = "blk", storage_patience_ms = STORAGE_PATIENCE_MS_DEFAULT } = configuration;
  const { host, port } = storageAddress(role);
  return diskDevices(diskNodesOf(configuration), disk_bus, (name) => [
    "driver=nbd",
    "server.type=inet",
    `server.host=${host}`,
    `server.port=${port}`,
    `export=${name}`,
    "cache.direct=on",
    `reconnect-delay=${storage_patience_ms / 1_000}`,
  ]);
}

/** The disks of a run's VM, where they are stored. */
export class StoredDisks implements StorageServer {
  readonly #host: StartedHost<typeof STORAGE>;
  readonly #disks: readonly GuestDisk[];
  readonly #seed: number;

  readonly #argv: readonly string[];
  readonly #log: (host: FleetHost, line: string) => void;
  #server: HostProcess | undefined;

  private constructor(
    host: StartedHost<typeof STORAGE>,
    disks: readonly GuestDisk[],
    seed: number,
    argv: readonly string[],
    log: (host: FleetHost, line: string) => void,
  ) {
    this.#host = host;
    this.#disks = disks;
    this.#seed = seed;
    this.#argv = argv;
    this.#log = log;
  }

  /**
   * Makes the images and exports them: to agents by a server that tells generations of a VM apart, to a QEMU alone by one
   * that knows nothing of them. @returns undefined where the VM has no disks
   */
  static async make(
    fleet: StartedFleet,
    disks: readonly GuestDisk[],
    { recovery, seed }: Pick<RunRequest, "recovery" | "seed">,
    log: (host: FleetHost, line: string) => void,
  ): Promise<StoredDisks | undefined> {
    const host = fleet.storage;
    if (host === undefined) return undefined;
    const made = disks.map((disk, number) => makeImage(disk, `${FOLDER}/disk${number}`));
    await host.run([`mkdir -p ${FOLDER}`, ...made].join(" && "), START_MS);
    const port = String(PORTS.storage);
    const argv =
      recovery === "stock"
        ? ["nbdkit", "-f", "-p", port, "file", `dir=${FOLDER}`]
        : [AGENT_FILES.node, AGENT_FILES.program, "storage", FOLDER, port];
    const stored = new StoredDisks(host, disks, seed, argv, log);
    await stored.start();
    return stored;
  }

  /** Starts what exports them. Where one was killed its images and what it knows of generations are still there. */
  async start(): Promise<void> {
    const up = listensOn(PORTS.storage);
    this.#server = await serve(this.#host, this.#argv, { what: "the disks", up }, this.#log);
  }

  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.gone) throw new Error("the storage's server does not run");
    await this.#host.run(`kill -9 ${server.pid}`);
    await within({ what: "the storage's server to end", timeout_ms: START_MS }, server.exited);
  }

  /**
   * What lies on them, against what the guest says that it has written. The guest has to have let go of them. What was on
   * its way from the VM's host to here by then gets a moment to come.
   */
  async look(told: DisksTold): Promise<DiskFindings> {
    return await lookUntilWell(
      () => this.#look(told),
      ({ disks }) =>
        disks.every(({ wrong, fsck, damaged }) => wrong === 0 && fsck === undefined && damaged === undefined),
    );
  }

  async #look(told: DisksTold): Promise<DiskFindings> {
    const disks: DiskFindings["disks"][number][] = [];
    for (const [number, disk] of this.#disks.entries()) {
      const records = told.records[number] ?? 0;
      const { wrong, ...rest } = await this.#lookAt(number, disk, records);
      const [first] = wrong;
      const { kind, format } = disk;
      disks.push({
        ...{ kind, format, told: records, wrong: wrong.length },
        ...(first === undefined ? {} : { first }),
        ...rest,
      });
    }
    return { disks, errors: told.errors };
  }

  /** A qcow2 is checked as such, and what it holds then read as a raw image; of a damaged one nothing more is to be told. */
  async #lookAt(number: number, { kind, format }: GuestDisk, told: number): Promise<Seen> {
    const stored = `${FOLDER}/disk${number}`;
    const look = async (image: string): Promise<Seen> =>
      kind === "raw" ? await this.#raw(image, number, told) : await this.#ext4(image, number, told);
    if (format === "raw") return await look(stored);
    const { state, said } = await checkQcow2(this.#host, stored);
    // One that cannot even be read was whole when it was made, and nobody but the VM has it.
    if (state === "damaged" || state === "unreadable") return { wrong: [], damaged: said };
    const image = `${READ}/disk${number}`;
    await this.#host.run(`mkdir -p ${READ} && qemu-img convert -U -f qcow2 -O raw ${stored} ${image}`, LOOK_MS);
    return { ...(await look(image)), ...(state === "leaks" ? { leaks: said } : {}) };
  }

  async #raw(image: string, number: number, told: number): Promise<Seen> {
    const bytes = await this.#read(image, RAW_SLOTS * PAGE_BYTES);
    return { wrong: wrongInRing(bytes, this.#seed, number, told) };
  }

  async #ext4(image: string, number: number, told: number): Promise<Seen> {
    const out = `/dev/shm/out${number}`;
    // The checker's code is 0 where it has nothing to say; it changes nothing (-n), whatever it finds (-f).
    const said = (await this.#host.run(`e2fsck -fn ${image} 2>&1; echo code $?`, LOOK_MS)).trim();
    const fsck = said.endsWith("code 0") ? {} : { fsck: said.slice(0, 2_000) };
    await this.#host.run(
      `rm -rf ${out} && mkdir ${out} && debugfs -R "rdump / ${out}" ${image} 2>/dev/null || true`,
      LOOK_MS,
    );
    const there = (await this.#host.run(`ls ${out}`)).split(/\s+/);
    const wrong: WrongRecord[] = [];
    const files = expectedFiles(told);
    for (const file of files) {
      const bytes = there.includes(file.name) ? await this.#read(`${out}/${file.name}`) : undefined;
      wrong.push(...wrongInFile(bytes, this.#seed, number, file));
    }
    const names = files.map(({ name }) => name);
    for (const name of there.filter((found) => /^(current|\d+)$/.test(found) && !names.includes(found)))
      wrong.push({ place: name, expected: 0, found: "missing", kind: "other" });
    return { wrong, ...fsck };
  }

  async #read(path: string, bytes?: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of await this.#host.readFile(path, 0, bytes)) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  }
}

interface Seen {
  readonly wrong: readonly WrongRecord[];
  readonly fsck?: string;
  readonly damaged?: string;
  readonly leaks?: string;
}

/** A shell command that makes an image. */
function makeImage({ kind, format }: GuestDisk, image: string): string {
  const raw = format === "raw" ? image : `${MADE}-${kind}`;
  const made = `truncate -s ${BYTES[kind]} ${raw}`;
  const formatted = kind === "ext4" ? ` && mkfs.ext4 -q -F -b ${PAGE_BYTES} -E nodiscard ${raw}` : "";
  if (format === "raw") return `${made}${formatted}`;
  const convert = `qemu-img convert -f raw -O qcow2 -o cluster_size=${QCOW2_CLUSTER_BYTES} ${raw} ${image}`;
  return `${made}${formatted} && ${convert} && truncate -s ${QCOW2_TIMES * BYTES[kind]} ${image} && rm ${raw}`;
}
