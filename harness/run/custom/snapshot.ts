import { createHash, randomBytes } from "node:crypto";
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { messageOf, UserError } from "../../base/errors.ts";
import { whileMoving } from "../../base/patience.ts";
import type { HostRole } from "../../base/timeline.ts";
import { startFleet } from "../../fleet/fleet.ts";
import { ensureStorageImage } from "../../fleet/images.ts";
import { hostShmBytes } from "../../fleet/shm.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { queryMigrate } from "../../qemu/migration-api.ts";
import { configurationOf, machineTypeOf } from "../configure.ts";
import { HostLogs } from "../host-logs.ts";
import { DEFAULT_PATIENCE_MS, lookingWith } from "../looking.ts";
import { Network } from "../net/network.ts";
import { startPlainVm } from "../plain-vm.ts";
import type { RunContext } from "../recovery.ts";
import type { RunEnvironment, RunRequest } from "../request.ts";
import { Switch } from "../stock/switch.ts";
import { Timeline } from "../timeline.ts";
import { CustomGuest } from "./custom-guest.ts";
import { hasImages, IMAGES_SHM_BYTES, ImageDisks, seenFiles } from "./image-disks.ts";
import { MANIFEST, savedDisk, statePath } from "./snapshot-files.ts";

/** On the source's own disk: its memory is full of the VM. */
const STATE_ON_HOST = "/tmp/ferryman-state";

/**
 * Makes sure that the snapshot that a run starts from is there and is one of its VM.
 * @throws UserError where the folder holds another, or the VM does not boot
 */
export async function ensureSnapshot(
  environment: RunEnvironment,
  request: RunRequest,
  say: (line: string) => void,
): Promise<void> {
  const folder = configurationOf(request).snapshot;
  if (folder === undefined) return;
  const of = identityOf(environment, request);
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    if (manifestOf(folder) === of) return;
    throw new UserError(
      `${folder} is no snapshot of this VM (its QEMU, memory, files and devices as they are now): name another folder, or remove it.`,
    );
  }
  say(`the VM is booted once, to start from: it is kept in ${folder}`);
  mkdirSync(dirname(folder), { recursive: true });
  const making = mkdtempSync(`${folder}.making-`);
  try {
    await make(environment, request, making);
    writeFileSync(join(making, MANIFEST), `${JSON.stringify({ of })}\n`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(making, folder);
  } catch (error) {
    environment.signal.throwIfAborted();
    throw new UserError(`no snapshot could be made: ${messageOf(error)}`);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
}

function manifestOf(folder: string): unknown {
  try {
    return (JSON.parse(readFileSync(join(folder, MANIFEST), "utf8")) as { of?: unknown }).of;
  } catch {
    return undefined;
  }
}

/** Everything that the state of a booted VM depends on; files by when they were changed. */
function identityOf(environment: RunEnvironment, request: RunRequest): string {
  const { images = [], kernel, initrd, cloud_init, ...rest } = configurationOf(request);
  const { append, net, vcpus, cpu, disk_bus, qemu_args, source_qemu_args } = rest;
  const files = [...images.map(({ path }) => path), kernel, initrd, cloud_init].map((path) => {
    if (path === undefined) return null;
    const { size, mtimeMs } = statSync(path);
    return [path, size, mtimeMs];
  });
  const devices = {
    append,
    net,
    vcpus,
    cpu,
    disk_bus,
    qemu_args,
    source_qemu_args,
    formats: images.map(({ format }) => format),
  };
  const machine = [environment.qemu_version, machineTypeOf(environment, rest), request.accel, request.memory_bytes];
  return createHash("sha256")
    .update(JSON.stringify([machine, files, devices]))
    .digest("hex");
}

async function make(environment: RunEnvironment, asked: RunRequest, folder: string): Promise<void> {
  const { snapshot: _, ...configuration } = configurationOf(asked);
  const { client: _client, ...scenario } = asked.scenario;
  const request: RunRequest = { ...asked, scenario: { ...scenario, configuration }, configuration, recovery: "stock" };
  const { docker, signal } = environment;
  const notes = mkdtempSync(join(tmpdir(), "ferryman-snapshot-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(notes, { recursive: true, force: true }));
  const timeline = new Timeline(join(notes, "timeline.ndjson"));
  stack.defer(() => timeline.close());
  const logs = stack.use(new HostLogs(notes, timeline));
  const looking = lookingWith(request.patience_ms ?? DEFAULT_PATIENCE_MS, timeline.emit);
  const with_images = hasImages(configuration);
  const image =
    environment.images_image ?? (await ensureStorageImage(docker, { say: () => undefined, signal, images: true }));
  const fleet = stack.use(
    await startFleet(docker, {
      run: `snapshot-${randomBytes(4).toString("hex")}`,
      host_image: environment.host_image,
      toxiproxy_image: environment.toxiproxy_image,
      ...(with_images ? { storage: { image, shm_bytes: IMAGES_SHM_BYTES, read_only: seenFiles(configuration) } } : {}),
      shm_bytes: hostShmBytes(request.memory_bytes),
      devices: request.accel === "kvm" ? ["/dev/kvm"] : [],
      outside: configuration.net !== undefined,
      emit: timeline.emit,
    }),
  );
  const { seed, memory_bytes, accel } = request;
  const guest = new CustomGuest({ seed, memory_bytes, accel, emit: timeline.emit, configuration, looking });
  stack.defer(() => guest.end());
  const images = with_images ? await ImageDisks.make(fleet, configuration, "stock", () => undefined) : undefined;
  await guest.put(fleet);
  const vms = new Map<HostRole, StartedVm>();
  const context: RunContext = { environment, request, folder: notes, fleet, guest, timeline, looking, logs, vms };
  const vm = stack.use(await startPlainVm(context, "source", { incoming: false, paused: false }));
  const cable = stack.use(new Switch((role) => fleet.host(role)));
  const network = fleet.outside && stack.use(await Network.start(fleet.outside, cable, { client: false }));
  guest.onNetwork(network?.reach);
  await guest.booted(vm);
  guest.end();
  await save(vm, looking, statePath(folder));
  await vm.quit();
  await images?.save((number) => savedDisk(folder, number));
}

/** Writes the VM's state into a file here; its disks are flushed then, and nobody's. */
async function save(vm: StartedVm, looking: RunContext["looking"], path: string): Promise<void> {
  // It may stand still for as long as it takes.
  await vm.control.executeRaw("migrate-set-parameters", { "max-bandwidth": 4 * 1024 ** 3, "downtime-limit": 60_000 });
  await vm.control.execute("migrate", { uri: `exec:cat >${STATE_ON_HOST}` });
  let sent = 0;
  await whileMoving({ what: "the VM's state to be saved", ...looking, moves: () => `${sent} bytes` }, async () => {
    const { status, ram } = await queryMigrate(vm.watch);
    if (status === "failed") throw new Error("QEMU could not save the VM's state");
    sent = ram?.transferred ?? sent;
    return status === "completed" ? true : undefined;
  });
  await pipeline(await vm.host.readFile(STATE_ON_HOST), createWriteStream(path));
}
