import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/errors.ts";
import { contentHash } from "./content.ts";
import { buildImage, inspectImage, type Making, runInImage, tagImage, temporaryFolder } from "./docker.ts";
import { FIXTURES, imageFixture } from "./paths.ts";
import type { QemuInImage } from "./qemu-image.ts";

/** Label that keeps the version of the QEMU in a host image. */
export const QEMU_VERSION_LABEL = "ferryman.qemu";
/** The same of libvirt, where the host has it. */
export const LIBVIRT_VERSION_LABEL = "ferryman.libvirt";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface HostParts {
  /** Name of the base, and what tells one content of it from another: our tag, or the id of the user's image. */
  readonly base: string;
  readonly base_content: string;
  readonly tools: string;
  readonly agent: string | undefined;
  /** Whether the base has it; absent: no. */
  readonly libvirt?: boolean;
}

export function hostTag(parts: HostParts): string {
  const hash = contentHash([
    parts.base_content,
    parts.tools,
    imageFixture("host.Dockerfile"),
    parts.agent ?? "no agent",
    ...(parts.libvirt ? [LIBVIRT_VERSION_LABEL] : []),
  ]);
  return `ferryman/host:${hash}`;
}

/**
 * Puts tools and agent onto a base. The image is tagged only after Node has run in it.
 * @throws UserError when the base's C library is too old for Node.
 */
export async function makeHost(making: Making, parts: HostParts, qemu: QemuInImage): Promise<void> {
  using folder = temporaryFolder();
  copyFileSync(join(FIXTURES, "images/host.Dockerfile"), join(folder.path, "Dockerfile"));
  mkdirSync(join(folder.path, "added/bin"), { recursive: true });
  // Wherever the image keeps its QEMU, the host has it in its PATH under the one name.
  symlinkSync(qemu.path, join(folder.path, "added/bin/qemu-system-x86_64"));
  if (parts.agent !== undefined) {
    mkdirSync(join(folder.path, "added/agent"));
    writeFileSync(join(folder.path, "added/agent/agent.mjs"), parts.agent);
  }
  const base = await inspectImage(making.docker, parts.base);
  const path = base?.Config.Env?.find((variable) => variable.startsWith("PATH="))?.slice("PATH=".length);
  const libvirt = parts.libvirt ? await runInImage(making.docker, parts.base, "libvirtd --version") : undefined;
  const id = await buildImage(making, {
    image: "host",
    context: folder.path,
    args: { BASE: parts.base, TOOLS: parts.tools, IMAGE_PATH: path ?? DEFAULT_PATH },
    labels: {
      [QEMU_VERSION_LABEL]: qemu.version,
      ...(libvirt === undefined ? {} : { [LIBVIRT_VERSION_LABEL]: /\d+(\.\d+)+/.exec(libvirt)?.[0] ?? libvirt }),
    },
  });
  try {
    await runInImage(making.docker, id, "/opt/ferryman/bin/node --version && /opt/ferryman/bin/tini --version");
  } catch (error) {
    await making.docker
      .getImage(id)
      .remove()
      .catch(() => undefined);
    throw new UserError(
      `image ${parts.base} cannot run Node 24, which Ferryman's agent needs (glibc 2.28 or newer, libstdc++): ${messageOf(error)}`,
    );
  }
  await tagImage(making.docker, id, hostTag(parts));
}
