import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { StartedTestContainer } from "testcontainers";
import { startContainer } from "../fleet/container.ts";
import { ensureEngine } from "../fleet/engine.ts";
import { ensureImages } from "../fleet/images.ts";
import { ownerOf } from "../fleet/owner.ts";
import { HOST_RIGHTS } from "../fleet/rights.ts";
import { judgeProbe, kvmProbeArgv, PROBE_TIMEOUT_MS, type ProbeResult, probeImage } from "../qemu/accel.ts";
import type { BootedOptions, BootedReport } from "./booted.ts";
import type { DrillOptions } from "./drill.ts";
import type { DrillReport } from "./report.ts";

const BINARIES = "/opt/ferryman/bin";
const PROGRAM = "/opt/drill.mjs";
const SHM_BYTES = 2 ** 30;
const KVM_DEVICE = "/dev/kvm";
let started = 0;

/** A container of a host image in which drills run; for tests. */
export class DrillHost implements AsyncDisposable {
  readonly #container: StartedTestContainer;
  readonly qemu_version: string;

  private constructor(container: StartedTestContainer, qemu_version: string) {
    this.#container = container;
    this.qemu_version = qemu_version;
  }

  /** Makes sure of engine and image for a QEMU of `QEMU_NAMES`, and starts a host with this very drill in it. */
  static async start(qemu: string): Promise<DrillHost> {
    const say = (line: string): void => void process.stderr.write(`${line}\n`);
    const docker = await ensureEngine({ mayInstall: true, say });
    const images = await ensureImages(docker, { qemu, say });
    const bundle = await build({
      entryPoints: [join(fileURLToPath(import.meta.url), "../main.ts")],
      bundle: true,
      write: false,
      platform: "node",
      target: "node24",
      format: "esm",
      logLevel: "silent",
    });
    const container = await startContainer({
      image: images.host,
      name: `ferryman-drill-${process.pid}-${qemu.replace(/[^\w.]/g, "-")}-${started++}`,
      run: "drill",
      owner: ownerOf(process.pid) ?? "",
      network: "none",
      ports: [],
      entrypoint: [`${BINARIES}/tini`, "--"],
      command: ["sh", "-c", "echo ready; exec sleep 3600"],
      ready: /ready/,
      rights: HOST_RIGHTS,
      shm_bytes: SHM_BYTES,
      devices: existsSync(KVM_DEVICE) ? [KVM_DEVICE] : [],
    });
    await container.copyContentToContainer([{ content: bundle.outputFiles[0]?.text ?? "", target: PROGRAM }]);
    return new DrillHost(container, images.qemu_version);
  }

  /** Whether this host's kernel is one that can note changed pages: asynchronous write-protection came with Linux 6.7. */
  async kernelTracks(): Promise<boolean> {
    const { stdout } = await this.sh("uname -r");
    const [major = 0, minor = 0] = stdout.split(".").map(Number);
    return major > 6 || (major === 6 && minor >= 7);
  }

  /** Whether a guest runs under KVM here: a device that opens may run nothing. */
  async kvm(): Promise<ProbeResult> {
    if (!existsSync(KVM_DEVICE)) return { ran: false, why: `there is no ${KVM_DEVICE}` };
    const path = "/tmp/probe.bin";
    await this.#container.copyContentToContainer([{ content: Buffer.from(probeImage()), target: path }]);
    const ran = await this.sh(
      `timeout ${PROBE_TIMEOUT_MS / 1000} qemu-system-x86_64 ${kvmProbeArgv(path).join(" ")} 2>&1`,
    );
    return judgeProbe(ran.stdout, ran.exitCode);
  }

  async sh(script: string): Promise<{ readonly stdout: string; readonly exitCode: number }> {
    return await this.#container.exec(["sh", "-c", script]);
  }

  async drill(options: Partial<DrillOptions>): Promise<DrillReport> {
    return (await this.#run("drill", options)) as DrillReport;
  }

  /** Transactions of a QEMU that was only booted. */
  async booted(options: Partial<BootedOptions>): Promise<BootedReport> {
    return (await this.#run("booted", options)) as BootedReport;
  }

  async #run(name: "drill" | "booted", options: Partial<DrillOptions>): Promise<unknown> {
    const all: DrillOptions = {
      qemu: "qemu-system-x86_64",
      accel: "tcg",
      memory_mib: 128,
      kernel: "/opt/ferryman/guests/integrity/integrity.elf",
      pagescan: `${BINARIES}/pagescan`,
      shim: `${BINARIES}/libferryman-uffd.so`,
      prefer: "auto",
      compare: false,
      epoch_ms: 100,
      transactions: 12,
      bandwidth_mib_s: 32,
      rate: 5000,
      until_completed: false,
      consume: false,
      reopen: false,
      trouble: false,
      lose_notes: false,
      guest_pages: 0,
      guest_checks_pages: 1 << 14,
      afterlife: false,
      seed: 7,
      ...options,
    };
    const ran = await this.#container.exec([`${BINARIES}/node`, PROGRAM, name, JSON.stringify(all)]);
    if (ran.exitCode !== 0) throw new Error(`the drill failed with exit code ${ran.exitCode}:\n${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Said here, because our containers are not taken away by being stopped.
    await this.#container.stop({ timeout: 0, remove: true, removeVolumes: true });
  }
}
