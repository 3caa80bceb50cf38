import { type Configuration, type DiskKind, STORAGE_PATIENCE_MS_DEFAULT } from "../base/configuration.ts";
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
import { diskDevices } from "../qemu/disk-devices.ts";
import { imageNames } from "./custom/image-disks.ts";
import type { RunRequest } from "./request.ts";
import { listensOn, lookUntilWell, serve } from "./storage-server.ts";

/** In the storage host's memory: what its disk would do to a run is the machine's matter, not the run's. */
const FOLDER = "/dev/shm/disks";
/** A file system has a journal of 4 MiB, and eight files of the guest's. */
const BYTES: Readonly<Record<DiskKind, number>> = { raw: 4 * 1024 ** 2, ext4: 32 * 1024 ** 2 };
const START_MS = 15_000;
const LOOK_MS = 30_000;

/** Room on the storage host for the images and what is taken out of them, bytes. */
export function storageShmBytes(disks: readonly DiskKind[]): number {
  return 64 * 1024 ** 2 + disks.reduce((sum, kind) => sum + 2 * BYTES[kind], 0);
}

/** QEMU's arguments for the VM's disks, where it reaches the storage by itself. */
export function diskArgs(configuration: Configuration, role: HostRole): readonly string[] {
  const { disks = [], disk_bus = "blk", storage_patience_ms = STORAGE_PATIENCE_MS_DEFAULT } = configuration;
  const { host, port } = storageAddress(role);
  const names = [...disks.map((_, number) => `disk${number}`), ...imageNames(configuration)];
  return diskDevices(
    names,
    disk_bus,
    (name) =>
      `driver=nbd,server.type=inet,server.host=${host},server.port=${port},export=${name},cache.direct=on,reconnect-delay=${storage_patience_ms / 1_000}`,
  );
}

/** The disks of a run's VM, where they are stored. */
export class StoredDisks implements StorageServer {
  readonly #host: StartedHost<typeof STORAGE>;
  readonly #kinds: readonly DiskKind[];
  readonly #seed: number;

  readonly #argv: readonly string[];
  readonly #log: (host: FleetHost, line: string) => void;
  #server: HostProcess | undefined;

  private constructor(
    host: StartedHost<typeof STORAGE>,
    kinds: readonly DiskKind[],
    seed: number,
    argv: readonly string[],
    log: (host: FleetHost, line: string) => void,
  ) {
    this.#host = host;
    this.#kinds = kinds;
    this.#seed = seed;
    this.#argv = argv;
    this.#log = log;
  }

  /** Of the exports. */
  get names(): readonly string[] {
    return this.#kinds.map((_, number) => `disk${number}`);
  }

  /**
   * Makes the images and exports them: to agents by a server that tells generations of a VM apart, to a QEMU alone by one
   * that knows nothing of them. @returns undefined where the VM has no disks
   */
  static async make(
    fleet: StartedFleet,
    kinds: readonly DiskKind[],
    { recovery, seed }: Pick<RunRequest, "recovery" | "seed">,
    log: (host: FleetHost, line: string) => void,
  ): Promise<StoredDisks | undefined> {
    const host = fleet.storage;
    if (host === undefined) return undefined;
    const made = kinds.map((kind, number) => {
      const image = `${FOLDER}/disk${number}`;
      const format = kind === "ext4" ? ` && mkfs.ext4 -q -F -b ${PAGE_BYTES} -E nodiscard ${image}` : "";
      return `truncate -s ${BYTES[kind]} ${image}${format}`;
    });
    await host.run([`mkdir -p ${FOLDER}`, ...made].join(" && "), START_MS);
    const port = String(PORTS.storage);
    const argv =
      recovery === "stock"
        ? ["nbdkit", "-f", "-p", port, "file", `dir=${FOLDER}`]
        : [AGENT_FILES.node, AGENT_FILES.program, "storage", FOLDER, port];
    const disks = new StoredDisks(host, kinds, seed, argv, log);
    await disks.start();
    return disks;
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
      ({ disks }) => disks.every(({ wrong, fsck }) => wrong === 0 && fsck === undefined),
    );
  }

  async #look(told: DisksTold): Promise<DiskFindings> {
    const disks: DiskFindings["disks"][number][] = [];
    for (const [number, kind] of this.#kinds.entries()) {
      const records = told.records[number] ?? 0;
      const { wrong, fsck } = kind === "raw" ? await this.#raw(number, records) : await this.#ext4(number, records);
      const [first] = wrong;
      disks.push({
        kind,
        told: records,
        wrong: wrong.length,
        ...(first === undefined ? {} : { first }),
        ...(fsck === undefined ? {} : { fsck }),
      });
    }
    return { disks, errors: told.errors };
  }

  async #raw(number: number, told: number): Promise<Seen> {
    const bytes = await this.#read(`${FOLDER}/disk${number}`, RAW_SLOTS * PAGE_BYTES);
    return { wrong: wrongInRing(bytes, this.#seed, number, told) };
  }

  async #ext4(number: number, told: number): Promise<Seen> {
    const image = `${FOLDER}/disk${number}`;
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
}
