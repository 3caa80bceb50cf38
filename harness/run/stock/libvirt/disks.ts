import { type Configuration, STORAGE_PATIENCE_MS_DEFAULT } from "../../../base/configuration.ts";
import type { HostRole } from "../../../base/timeline.ts";
import type { StartedHost } from "../../../fleet/host.ts";
import { storageAddress } from "../../../fleet/links.ts";
import { diskNodesOf } from "../../disks.ts";
import { DOMAIN } from "./domain.ts";
import { CONNECTION } from "./virsh.ts";

const DUMP_MS = 10_000;
const TARGET_XML_PATH = "/run/ferryman/vm-elsewhere.xml";

/**
 * A domain's disks, as libvirt takes them: the same that a plain QEMU is asked for (harness/run/disks.ts), over the link of
 * the host on which it runs. Without a cache libvirt takes them for safe to migrate.
 */
export function diskElements(configuration: Configuration, role: HostRole): string {
  const { storage_patience_ms = STORAGE_PATIENCE_MS_DEFAULT } = configuration;
  return diskNodesOf(configuration)
    .map(({ name, format }, number) =>
      [
        '<disk type="network" device="disk">',
        `<driver name="qemu" type="${format}" cache="none" error_policy="stop" rerror_policy="stop" discard="unmap"/>`,
        `<source protocol="nbd" name="${name}">${hostElement(role)}`,
        `<reconnect delay="${storage_patience_ms / 1_000}"/></source>`,
        `<target dev="vd${String.fromCharCode("a".charCodeAt(0) + number)}" bus="virtio"/></disk>`,
      ].join(""),
    )
    .join("");
}

/**
 * The same domain, with its disks over the link of another host.
 * @throws Error where not all of them are found: the domain would reach its storage over the link of the host that it left
 */
export function withDisksFrom(xml: string, count: number, from: HostRole, to: HostRole): string {
  const { host, port } = storageAddress(from);
  const there = new RegExp(`<host name=["']${host}["'] port=["']${port}["']/>`, "g");
  const found = xml.match(there)?.length ?? 0;
  if (found !== count) throw new Error(`libvirt's domain names its storage ${found} times, and has ${count} disks`);
  return xml.replaceAll(there, hostElement(to));
}

/**
 * What `virsh migrate` has to be told beside where to: each host reaches the storage over a link of its own, so the domain
 * is another one there. @returns [] for a VM without disks
 */
export async function wordsForDisks(
  { disks = [] }: Configuration,
  host: StartedHost,
  to: HostRole,
): Promise<readonly string[]> {
  if (disks.length === 0) return [];
  const xml = await host.run(`virsh ${CONNECTION.join(" ")} --quiet dumpxml --migratable ${DOMAIN}`, DUMP_MS);
  await host.writeFile(TARGET_XML_PATH, withDisksFrom(xml, disks.length, host.role, to));
  return ["--xml", TARGET_XML_PATH];
}

function hostElement(role: HostRole): string {
  const { host, port } = storageAddress(role);
  return `<host name="${host}" port="${port}"/>`;
}
