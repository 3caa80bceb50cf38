import type Docker from "dockerode";
import type { Configuration } from "../base/configuration.ts";
import { UserError } from "../base/errors.ts";
import { quoteWord } from "../base/words.ts";
import { runOnce } from "../fleet/once.ts";
import { HOST_RIGHTS } from "../fleet/rights.ts";
import { machineSpecOf } from "../fleet/vm.ts";
import { qemuArgv } from "../qemu/command-line.ts";
import { checkConfiguration, configurationOf, planOf } from "./configure.ts";
import { makeGuest } from "./guests/index.ts";
import { LOOKING } from "./looking.ts";
import { vmMachineOf } from "./plain-vm.ts";
import { qemuOf, type RunEnvironment, type RunRequest } from "./request.ts";
import { capabilitiesOf, tlsObject } from "./stock/stream.ts";

/** For a QEMU to start, to be asked a few things and to end; it loads no guest. */
const PROBE_MS = 60_000;
/** On a tmpfs, without which there is no post-copy; nothing is written to it. */
const RAM_PATH = "/dev/shm/ferryman-probe-ram";
/** In front of a message (-msg timestamp=on). */
const STAMP = /^[\d:.TZ-]+ (?=qemu)/;
const TLS_FOLDER = "/tmp/ferryman-probe-tls";
/** What makes no difference to whether QEMU starts, and takes these capabilities and parameters. */
const NOT_PROBED: readonly string[] = [
  "source_qemu",
  "target_qemu",
  "bandwidth_bytes_per_s",
  "switchover",
  "transport",
  "manager",
  "manager_patience_ms",
  "disks",
  "images",
  "disk_bus",
  "kernel",
  "initrd",
  "append",
  "cloud_init",
  "snapshot",
  "probes",
  "storage_patience_ms",
];

/**
 * Asks the QEMUs of a run whether they take what it is configured to, before anything else is started: each is started
 * as in the run, waits for a migration, is asked, and ended.
 * @throws UserError in QEMU's own words where one refuses, or where the configuration cannot work at all
 */
export async function checkConfigured(environment: RunEnvironment, requests: readonly RunRequest[]): Promise<void> {
  const asked = new Set<string>();
  for (const request of requests) {
    checkConfiguration(request);
    const configuration = configurationOf(request);
    const pair = environment.target !== undefined;
    if (!pair && Object.keys(configuration).every((key) => NOT_PROBED.includes(key))) continue;
    for (const side of ["target", "source"] as const) {
      const probe = probeOf(environment, request, side);
      const what = JSON.stringify(probe);
      if (asked.has(what)) continue;
      asked.add(what);
      await ask(environment.docker, probe, `QEMU ${qemuOf(environment, side).qemu_version}`);
    }
  }
}

interface Probe {
  readonly image: string;
  readonly script: string;
  readonly devices: readonly string[];
  /** What each command is about, in words, by its id. */
  readonly about: Readonly<Record<string, string>>;
}

function probeOf(environment: RunEnvironment, request: RunRequest, side: "source" | "target"): Probe {
  const configuration = configurationOf(request);
  // What it boots is not looked at, and that of somebody else may not be on the host yet.
  const ours = typeof request.guest === "string" && request.guest !== "custom";
  const guest = makeGuest(ours ? request.guest : "integrity", {
    seed: request.seed,
    memory_bytes: request.memory_bytes,
    accel: request.accel,
    emit: () => undefined,
    work: {},
    looking: LOOKING,
  });
  const argv = qemuArgv({
    ...machineSpecOf("ferryman-probe", vmMachineOf({ environment, request, guest }, side)),
    ram_path: RAM_PATH,
    qmp: [],
    serials: ["com1", "com2"].map((id) => ({ id, endpoint: null })),
    incoming: "defer",
    paused: true,
  });
  const commands = commandsOf(request, configuration, side);
  const lines = commands.map(({ id, execute, args }) => JSON.stringify({ id, execute, arguments: args }));
  const key =
    configuration.tls === undefined
      ? []
      : [`mkdir -p ${TLS_FOLDER}`, `echo qemu:${"00ff".repeat(16)} >${TLS_FOLDER}/keys.psk`];
  const qemu = [environment.qemu_binary, ...argv, "-qmp", "stdio"].map(quoteWord).join(" ");
  return {
    image: qemuOf(environment, side).host_image,
    script: [...key, `printf '%s\\n' ${lines.map(quoteWord).join(" ")} | ${qemu}`].join(" && "),
    devices: request.accel === "kvm" ? ["/dev/kvm"] : [],
    about: Object.fromEntries(commands.map(({ id, about }) => [id, about])),
  };
}

interface Asked {
  readonly id: string;
  readonly execute: string;
  readonly args: object;
  readonly about: string;
}

function commandsOf(request: RunRequest, configuration: Configuration, side: "source" | "target"): readonly Asked[] {
  const wanted = Object.entries(capabilitiesOf(configuration, planOf(request).switchover !== "never"));
  const capabilities = wanted.map(([capability, state]) => ({ capability, state }));
  const names = Object.keys(configuration.capabilities ?? {}).join(", ");
  const commands: Asked[] = [
    { id: "hello", execute: "qmp_capabilities", args: {}, about: "to begin" },
    {
      id: "capabilities",
      execute: "migrate-set-capabilities",
      args: { capabilities },
      about: names === "" ? "post-copy" : `the capabilities ${names}`,
    },
  ];
  if (configuration.tls !== undefined) {
    const args = tlsObject("probe", TLS_FOLDER, side === "source" ? "client" : "server");
    commands.push({ id: "tls", execute: "object-add", args, about: "TLS" });
    const parameters = { "tls-creds": "probe" };
    commands.push({ id: "tls-creds", execute: "migrate-set-parameters", args: parameters, about: "TLS" });
  }
  for (const [name, value] of Object.entries(configuration.parameters ?? {})) {
    const about = `the parameter ${name}=${value}`;
    commands.push({ id: `parameter ${name}`, execute: "migrate-set-parameters", args: { [name]: value }, about });
  }
  return [...commands, { id: "quit", execute: "quit", args: {}, about: "to end" }];
}

async function ask(docker: Docker, { image, script, devices, about }: Probe, who: string): Promise<void> {
  const what = { image, what: "configuration-probe", script, devices, rights: HOST_RIGHTS, timeout_ms: PROBE_MS };
  const { output, exit_code } = await runOnce(docker, what);
  // Ended because its time was over: that is no refusal.
  if (exit_code === null)
    throw new UserError(`${who} did not say within ${PROBE_MS / 1000} s whether it takes this: is the machine busy?`);
  const why = refusalIn(output, about);
  if (why !== undefined) throw new UserError(`${who} ${why}`);
}

/** What QEMU refused, of what it wrote on both outputs; undefined where it took everything. */
export function refusalIn(output: string, about: Readonly<Record<string, string>>): string | undefined {
  const lines = output.split("\n").map((line) => line.trim());
  let last: unknown;
  for (const line of lines.filter((text) => text.startsWith("{"))) {
    let said: { readonly id?: unknown; readonly error?: { readonly desc?: unknown } };
    try {
      said = JSON.parse(line);
    } catch {
      continue;
    }
    if (said.error !== undefined) return `refuses ${about[String(said.id)] ?? "this"}: "${String(said.error.desc)}".`;
    if (said.id !== undefined) last = said.id;
  }
  if (last === "quit") return undefined;
  const words = lines
    .filter((line) => line !== "" && !line.startsWith("{") && !line.includes("warning:"))
    .map((line) => line.replace(STAMP, ""));
  return `does not start like this: "${words.at(-1) ?? "it says nothing"}".`;
}
