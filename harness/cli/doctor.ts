import { statfsSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import type { Command } from "commander";
import type Docker from "dockerode";
import { messageOf, UserError } from "../base/errors.ts";
import { findEngine } from "../fleet/engine.ts";
import { canInstall } from "../fleet/images/apt.ts";
import { DEFAULT_QEMU, imageState, QEMU_NAMES, qemuImageThere } from "../fleet/images.ts";
import { probeCapabilities, probeKvm, probeUserfaultfd } from "../fleet/probe.ts";
import { DISK_NEEDED_BYTES } from "../run/prepare.ts";
import { textTable } from "../run/table.ts";
import { qemuName } from "./options.ts";

interface Finding {
  readonly what: string;
  readonly state: "found" | "missing" | "unknown";
  readonly detail: string;
  /** What to do about it, where it is missing. */
  readonly mend?: string;
  /** Without it nothing can be run. */
  readonly needed: boolean;
}

const MEMORY_NEEDED_BYTES = 1024 ** 3;

export function registerDoctor(program: Command): void {
  program
    .command("doctor")
    .description(
      "look whether everything is there: engine, KVM, userfaultfd, memory, disk, images, and which migration capabilities each QEMU has",
    )
    .option("--qemu <name>", "QEMU version, or an image of your own", qemuName, DEFAULT_QEMU)
    .action(async ({ qemu }: { qemu: string }) => {
      const findings = await examine(qemu);
      console.log(findingsTable(findings));
      process.exitCode = findings.some(({ state, needed }) => needed && state === "missing") ? 2 : 0;
    });
}

export function findingsTable(findings: readonly Finding[]): string {
  const rows = findings.map(({ what, state, detail, mend }) => [
    what,
    state,
    mend === undefined ? detail : `${detail}; ${mend}`,
  ]);
  return textTable(["what", "", "detail"], rows);
}

/** Looks at everything and changes nothing. */
export async function examine(qemu: string): Promise<readonly Finding[]> {
  const findings: Finding[] = [memory(), disk()];
  let docker: Docker | undefined;
  try {
    docker = await findEngine();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    findings.push({ what: "container engine", state: "missing", detail: error.message, needed: true });
    return findings;
  }
  if (!docker) {
    findings.push({ what: "container engine", state: "missing", ...engineMissing() });
    return findings;
  }
  const { Version, KernelVersion } = await docker.version();
  findings.push({
    what: "container engine",
    state: "found",
    detail: `${Version}, kernel ${KernelVersion ?? "unknown"}`,
    needed: true,
  });
  const images = await imageState(docker, qemu);
  for (const image of images) {
    findings.push({
      what: `image ${image.what}`,
      state: image.found ? "found" : "missing",
      detail: image.tag,
      ...(image.mend === undefined ? {} : { mend: image.mend }),
      needed: false,
    });
  }
  const host = images.find(({ what, found }) => what === "host" && found);
  if (!host) {
    const detail = "can be looked at once the host image is there";
    findings.push(
      { what: "userfaultfd", state: "unknown", detail, needed: false },
      { what: "KVM", state: "unknown", detail, needed: false },
      ...(await capabilities(docker, qemu)),
    );
    return findings;
  }
  findings.push(await looked("userfaultfd", true, () => probeUserfaultfd(docker, host.tag)));
  findings.push(
    await looked("KVM", false, async () => {
      const { ran, why } = await probeKvm(docker, host.tag);
      return { ok: ran, detail: ran ? why : `${why}: guests run under TCG` };
    }),
  );
  findings.push(...(await capabilities(docker, qemu)));
  return findings;
}

/** Of every QEMU whose image is there, the migration capabilities that it has. */
async function capabilities(docker: Docker, qemu: string): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const name of new Set([...QEMU_NAMES, qemu])) {
    const image = await qemuImageThere(docker, name).catch(() => undefined);
    if (image === undefined) continue;
    const look = async () => ({ ok: true, detail: (await probeCapabilities(docker, image)).join(", ") });
    found.push(await looked(`capabilities, QEMU ${name}`, false, look));
  }
  return found;
}

/** A named engine is not replaced by another; without a name Ferryman can help itself on some machines. */
function engineMissing(): Pick<Finding, "detail" | "mend" | "needed"> {
  const host = process.env["DOCKER_HOST"];
  if (host) {
    return { detail: `none answers at DOCKER_HOST=${host}`, mend: "start it, or unset DOCKER_HOST", needed: true };
  }
  const mend = "`npm start` installs and starts one where it may (root, apt); otherwise install Docker and start it";
  return { detail: "none answers", mend, needed: !canInstall(true) };
}

async function looked(
  what: string,
  needed: boolean,
  look: () => Promise<{ ok: boolean; detail: string; mend?: string }>,
): Promise<Finding> {
  try {
    const { ok, detail, mend } = await look();
    return { what, state: ok ? "found" : "missing", detail, needed, ...(mend === undefined ? {} : { mend }) };
  } catch (error) {
    return { what, state: "unknown", detail: messageOf(error), needed: false };
  }
}

function memory(): Finding {
  const free = freemem();
  const detail = `${gib(free)} free`;
  if (free >= MEMORY_NEEDED_BYTES) return { what: "memory", state: "found", detail, needed: true };
  return {
    what: "memory",
    state: "missing",
    detail,
    mend: `a run takes about ${gib(MEMORY_NEEDED_BYTES)}`,
    needed: true,
  };
}

function disk(): Finding {
  const { bavail, bsize } = statfsSync(tmpdir());
  const free = bavail * bsize;
  const detail = `${gib(free)} free in ${tmpdir()}`;
  if (free >= DISK_NEEDED_BYTES) return { what: "disk", state: "found", detail, needed: true };
  return {
    what: "disk",
    state: "missing",
    detail,
    mend: `the images take about ${gib(DISK_NEEDED_BYTES)}`,
    needed: true,
  };
}

function gib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
}
