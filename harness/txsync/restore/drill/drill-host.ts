import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { GenericContainer, type StartedTestContainer, Wait } from "testcontainers";
import { ensureEngine } from "../../../fleet/engine.ts";
import { ensureImages } from "../../../fleet/images.ts";
import { runLabels } from "../../../fleet/labels.ts";
import { ownerOf } from "../../../fleet/owner.ts";
import type { DrillOptions } from "./drill.ts";
import type { DrillReport } from "./report.ts";

// The reaper's image cannot be counted on without a registry; leftovers are found by label instead.
process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";

const BINARIES = "/opt/ferryman/bin";
const PROGRAM = "/opt/drill.mjs";
const SHM_BYTES = 2 ** 30;

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
    const container = await new GenericContainer(images.host)
      .withLabels(runLabels("drill", ownerOf(process.pid) ?? ""))
      .withNetworkMode("none")
      .withEntrypoint([`${BINARIES}/tini`, "--"])
      .withCommand(["sh", "-c", "echo ready; exec sleep 3600"])
      .withWaitStrategy(Wait.forLogMessage("ready"))
      .withAddedCapabilities("SYS_PTRACE")
      .withSecurityOpt("seccomp=unconfined")
      .withSharedMemorySize(SHM_BYTES)
      .withCopyContentToContainer([{ content: bundle.outputFiles[0]?.text ?? "", target: PROGRAM }])
      .start();
    return new DrillHost(container, images.qemu_version);
  }

  /** Whether this host's kernel is one that can note changed pages: asynchronous write-protection came with Linux 6.7. */
  async kernelTracks(): Promise<boolean> {
    const { output } = await this.#container.exec(["uname", "-r"]);
    const [major = 0, minor = 0] = output.split(".").map(Number);
    return major > 6 || (major === 6 && minor >= 7);
  }

  async drill(options: Partial<DrillOptions>): Promise<DrillReport> {
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
      lose_notes: false,
      guest_pages: 0,
      guest_checks_pages: 1 << 14,
      afterlife: false,
      seed: 7,
      ...options,
    };
    const ran = await this.#container.exec([`${BINARIES}/node`, PROGRAM, JSON.stringify(all)]);
    if (ran.exitCode !== 0) throw new Error(`the drill failed with exit code ${ran.exitCode}:\n${ran.stderr}`);
    return JSON.parse(ran.stdout) as DrillReport;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container.stop({ timeout: 0 });
  }
}
