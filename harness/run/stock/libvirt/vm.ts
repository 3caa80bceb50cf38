import { waitFor } from "../../../base/wait.ts";
import type { StartedHost } from "../../../fleet/host.ts";
import { PORTS } from "../../../fleet/ports.ts";
import type { HostProcess } from "../../../fleet/process.ts";
import { type QemuProcess, StartedVm, type VmSpec } from "../../../fleet/vm.ts";
import { CONSOLE_PATH, DOMAIN, MEMORY_FOLDER, PID_PATH, QEMU_LOG_PATH } from "./domain.ts";

const COM2_MS = 500;
const LINES_KEPT = 100;
/** For libvirt's QEMU to be there once it was asked for; libvirt may have to ask it first what it can. */
const UP_MS = 20_000;

/** A QEMU that libvirt started: its end is seen by a process beside it, its words are in libvirt's log. */
class LibvirtQemu implements QemuProcess {
  readonly pid: number;
  readonly exited: Promise<null>;
  readonly #watcher: HostProcess;
  readonly #lines: string[];
  #gone = false;

  constructor(pid: number, watcher: HostProcess, lines: string[]) {
    this.pid = pid;
    this.#watcher = watcher;
    this.#lines = lines;
    this.exited = watcher.exited.then(() => {
      this.#gone = true;
      return null;
    });
  }

  get gone(): boolean {
    return this.#gone;
  }

  lastLines(count = 12): readonly string[] {
    return this.#lines.slice(-count);
  }

  [Symbol.dispose](): void {
    this.#watcher[Symbol.dispose]();
  }
}

/** What of libvirt's log of a domain QEMU wrote: libvirt writes a stamp, the environment and the command line in front. */
function isQemus(line: string): boolean {
  return !/^(LC_ALL|PATH|HOME|XDG_|QEMU_|\/\S+ \\|-)|\\$|: (starting up|initiating migration)/.test(line);
}

/** Follows a host's console and QEMU log from now on, over all domains that it will have. */
export async function followLogs(
  host: StartedHost,
  what: Pick<VmSpec, "emit" | "log" | "onConsole">,
): Promise<{ readonly lines: string[] }> {
  const follow = async (path: string, onLine: (line: string) => void): Promise<void> => {
    await host.run(`mkdir -p $(dirname ${path}) && touch ${path}`);
    const tail = await host.spawn(["tail", "-n", "+1", "-s", "0.05", "-F", path]);
    tail.onLine((line, output) => {
      if (output === "stdout") onLine(line);
    });
  };
  const lines: string[] = [];
  await follow(CONSOLE_PATH, (line) => {
    what.onConsole(line);
    what.log("console", line);
  });
  await follow(QEMU_LOG_PATH, (line) => {
    what.log("qemu", line);
    if (!isQemus(line.trim())) return;
    lines.push(line);
    if (lines.length > LINES_KEPT) lines.shift();
    what.emit(host.role, { kind: "log", stream: "qemu", line });
  });
  return { lines };
}

/**
 * Finds the QEMU that libvirt has on a host, as soon as it is there, and connects to its monitors.
 * @param over who has asked for it and will not get it says so: then nobody waits any longer
 */
export async function findVm(
  host: StartedHost,
  what: Pick<VmSpec, "emit" | "log" | "version_text"> & { readonly lines: string[]; readonly over: () => boolean },
): Promise<StartedVm | undefined> {
  const { emit, log, version_text, lines, over } = what;
  const pid = await waitFor(
    { what: `libvirt's QEMU on ${host.role}`, timeout_ms: UP_MS, interval_ms: 20 },
    async () => {
      if (over()) return null;
      // The file of one that has ended may still be there.
      const text = await host.run(
        `pid=$(cat ${PID_PATH} 2>/dev/null) && test -e /proc/$pid && echo $pid || true`,
        2_000,
      );
      return /^\d+$/.test(text.trim()) ? Number(text) : undefined;
    },
  );
  if (pid === null) return undefined;
  const argv = (await host.run(`tr '\\0' '\\n' < /proc/${pid}/cmdline`)).split("\n").filter((word) => word !== "");
  // Ends with the process whose pid it is given: nobody of ours is its parent.
  const watcher = await host.spawn(["tail", `--pid=${pid}`, "-s", "0.05", "-f", "/dev/null"]);
  const process = new LibvirtQemu(pid, watcher, lines);
  emit(host.role, { kind: "qemu.started", pid, version: version_text, argv });
  void process.exited.then((code) => emit(host.role, { kind: "qemu.exited", code, last_lines: process.lastLines(6) }));
  return await StartedVm.adopt(host, process, {
    emit,
    log,
    com2: () => host.connect(PORTS.com2, COM2_MS),
    // A folder for each domain, by its number: the last one is that of the domain that runs.
    findRam: async () => {
      const found = await host.run(`ls -t ${MEMORY_FOLDER}/libvirt/qemu/*-${DOMAIN}/pc.ram | head -1`);
      return found.trim();
    },
  });
}
