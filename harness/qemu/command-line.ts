import { UserError } from "../base/errors.ts";
import type { Accel } from "../base/run-record.ts";

/** Where QEMU listens: a Unix socket, or an address. */
export type Endpoint = { readonly unix: string } | { readonly host: string; readonly port: number };

/**
 * Where a serial line goes: a socket on which QEMU listens, a file that it writes, a pair PATH.in and PATH.out that it
 * reads and writes (a FIFO and a file, say: both have to be there), QEMU's own output, or nowhere.
 */
export interface SerialSpec {
  /** Name of the chardev, for `query-chardev` and `chardev-change`: `com1`. */
  readonly id: string;
  readonly endpoint: Endpoint | { readonly file: string } | { readonly pipe: string } | "stdio" | null;
}

/** A network card and the socket behind it, on which QEMU listens for its peer. */
export interface CardSpec {
  /** `virtio-net-pci`, `e1000e`. */
  readonly model: string;
  readonly mac: string;
  readonly listen: Endpoint;
}

/** A VM, as both sides of a migration have to describe it. Only accel, endpoints, paused and incoming may differ. */
export interface MachineSpec {
  /** Shown in `ps` and in the window that nobody sees. */
  readonly name: string;
  readonly accel: Accel;
  /** `q35`, or a versioned type such as `pc-q35-7.2`; the same on both sides. */
  readonly machine: string;
  readonly memory_bytes: number;
  /** File on a tmpfs that holds guest RAM, block `ram0`. QEMU makes it where it is missing. */
  readonly ram_path: string;
  /** What guest RAM is instead: memory without a name, of small pages or of huge ones (2 MiB). */
  readonly ram?: "file" | "memfd" | "hugetlbfs";
  /** CPU model as `-cpu` takes it, default CPU_MODEL. */
  readonly cpu?: string;
  /** vCPUs, default 1. */
  readonly smp?: number;
  /** What it boots; absent: the firmware looks for it on the disks. */
  readonly kernel?: string;
  readonly initrd?: string;
  /** The kernel's command line. */
  readonly append?: string;
  /** Monitors. Keep one for out-of-band commands alone. */
  readonly qmp: readonly (Endpoint | { readonly pipe: string })[];
  /** COM1, COM2, ... in this order. */
  readonly serials: readonly SerialSpec[];
  readonly card?: CardSpec;
  /** `defer` waits for `migrate-incoming`. */
  readonly incoming?: string;
  /** Do not start the vCPUs (-S). */
  readonly paused: boolean;
  readonly extra?: readonly string[];
}

/** Id of the memory backend and so name of the RAM block in the migration stream. */
export const RAM_BLOCK = "ram0";

/**
 * CPU model: a small named one, so that both sides of a migration and a restored VM have the same CPU whatever host
 * they run on. SSE3 is taken out because nested KVM may lack it, SVM because TCG offers it and KVM does not.
 */
export const CPU_MODEL = "qemu64,-pni,-svm";

/** A value inside a QEMU option: a comma is doubled (QEMU: util/qemu-option.c, get_opt_value). */
function optionValue(value: string): string {
  return value.replaceAll(",", ",,");
}

function chardevArgs(id: string, endpoint: SerialSpec["endpoint"]): string {
  const head = `id=${optionValue(id)}`;
  if (endpoint === null) return `null,${head}`;
  if (endpoint === "stdio") return `stdio,${head},signal=off`;
  if ("file" in endpoint) return `file,${head},path=${optionValue(endpoint.file)}`;
  if ("pipe" in endpoint) return `pipe,${head},path=${optionValue(endpoint.pipe)}`;
  return `socket,${head},${endpointOptions(endpoint)},server=on,wait=off`;
}

function endpointOptions(endpoint: Endpoint): string {
  if ("unix" in endpoint) return `path=${optionValue(endpoint.unix)}`;
  return `host=${optionValue(endpoint.host)},port=${endpoint.port}`;
}

/**
 * QEMU listens, because that is what every version does again when its peer was away: one that dials has `reconnect` in
 * some versions, `reconnect-ms` in others, or neither. Without a boot ROM, which would be a RAM block that nobody needs.
 */
function cardArgs({ model, mac, listen }: CardSpec): string[] {
  const address =
    "unix" in listen
      ? `addr.type=unix,addr.path=${optionValue(listen.unix)}`
      : `addr.type=inet,addr.host=${optionValue(listen.host)},addr.port=${listen.port}`;
  return ["-netdev", `stream,id=net0,server=on,${address}`, "-device", `${model},netdev=net0,mac=${mac},romfile=`];
}

/** An endpoint as `migrate` and `migrate-incoming` take it: `unix:/path`, `tcp:host:port`. */
export function migrationUri(endpoint: Endpoint): string {
  if ("unix" in endpoint) return `unix:${endpoint.unix}`;
  const host = endpoint.host.includes(":") ? `[${endpoint.host}]` : endpoint.host;
  return `tcp:${host}:${endpoint.port}`;
}

/** Where the state of a VM that was saved into a file comes from, as `-incoming` takes it in every version. */
export function stateUri(path: string): string {
  return `exec:cat ${path}`;
}

function checkSpec(spec: MachineSpec): void {
  const smp = spec.smp ?? 1;
  if (!Number.isSafeInteger(spec.memory_bytes) || spec.memory_bytes < 1 << 20 || spec.memory_bytes % 4096 !== 0) {
    throw new UserError(
      `A guest needs at least 1 MiB of memory in whole 4 KiB pages; ${spec.memory_bytes} bytes were asked for.`,
    );
  }
  if (!Number.isSafeInteger(smp) || smp < 1)
    throw new UserError(`A guest needs at least 1 vCPU; ${smp} were asked for.`);
  for (const endpoint of [...spec.qmp, ...spec.serials.map((serial) => serial.endpoint)]) {
    // sun_path holds 108 bytes with its closing zero (unix(7)).
    if (endpoint && endpoint !== "stdio" && "unix" in endpoint && Buffer.byteLength(endpoint.unix) > 107) {
      throw new UserError(`The socket path is longer than the 107 bytes that a Unix socket may have: ${endpoint.unix}`);
    }
  }
}

function ramBackend({ ram = "file", ram_path, memory_bytes }: MachineSpec): string {
  const memfd = ram === "hugetlbfs" ? ",hugetlb=on,hugetlbsize=2M" : "";
  const where = ram === "file" ? `,mem-path=${optionValue(ram_path)}` : memfd;
  return `memory-backend-${ram === "file" ? "file" : "memfd"},id=${RAM_BLOCK},share=on${where},size=${memory_bytes}`;
}

/**
 * The arguments of `qemu-system-x86_64` for a VM, without the program's name. A source, a target (`incoming`) and a
 * restored VM are started with the same arguments otherwise.
 * @throws UserError for what QEMU could not run.
 */
export function qemuArgv(spec: MachineSpec): string[] {
  checkSpec(spec);
  // Its threads have names: who goes before others is told by them (txsync/agent/process.ts).
  const name = `${optionValue(spec.name)},debug-threads=on`;
  const argv = ["-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"];
  argv.push("-msg", "timestamp=on");
  argv.push("-accel", spec.accel === "tcg" ? "tcg,thread=multi" : "kvm", "-cpu", spec.cpu ?? CPU_MODEL);
  argv.push("-machine", `${spec.machine},memory-backend=${RAM_BLOCK}`);
  argv.push("-object", ramBackend(spec));
  argv.push("-m", `size=${spec.memory_bytes}B`, "-smp", String(spec.smp ?? 1));
  if (spec.kernel !== undefined) argv.push("-kernel", spec.kernel);
  if (spec.initrd !== undefined) argv.push("-initrd", spec.initrd);
  if (spec.append !== undefined) argv.push("-append", spec.append);
  spec.qmp.forEach((endpoint, index) => {
    argv.push("-chardev", chardevArgs(`qmp${index}`, endpoint), "-mon", `chardev=qmp${index},mode=control`);
  });
  for (const serial of spec.serials) {
    argv.push("-chardev", chardevArgs(serial.id, serial.endpoint), "-serial", `chardev:${serial.id}`);
  }
  if (spec.card !== undefined) argv.push(...cardArgs(spec.card));
  if (spec.incoming !== undefined) argv.push("-incoming", spec.incoming);
  if (spec.paused) argv.push("-S");
  if (spec.extra) argv.push(...spec.extra);
  return argv;
}
