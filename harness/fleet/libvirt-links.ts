import { Toxiproxy } from "toxiproxy-node-client";
import type { Emit, HostRole } from "../base/timeline.ts";
import { LINKS_ALIAS, Link, linkAddress, makeProxy, pairNumber } from "./links.ts";
import { PORTS } from "./ports.ts";

/** Where one libvirt daemon reaches the other, and where its QEMU sends the stream: "links:7401". */
export interface LibvirtWay {
  readonly control: string;
  readonly stream: string;
}

/**
 * Makes the link between the libvirt daemons of source and target, and has the link of the stream lead to the port that
 * libvirt lets QEMU listen on: the one in the address that it is given for QEMU to connect to (`--migrateuri`).
 */
export async function openLibvirtLink(toxiproxy_url: string, stream: Link, emit: Emit): Promise<Link> {
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  const [from, to] = ["source", "target"] as const;
  await stream.leadTo(`${to}:${linkAddress(from, to).port}`);
  const port = PORTS.libvirt_link + pairNumber(from, to);
  const proxy = await makeProxy(toxiproxy, {
    name: `${from}-to-${to}-libvirt`,
    port,
    upstream: `${to}:${PORTS.libvirt}`,
  });
  return new Link(stream.ends, [{ proxy, forward: "upstream" }], emit, "", "libvirt");
}

/** What is on the links from source to target. */
export const LIBVIRT_LINKS: LibvirtWay = {
  control: `${LINKS_ALIAS}:${PORTS.libvirt_link + pairNumber("source", "target")}`,
  stream: `${LINKS_ALIAS}:${linkAddress("source", "target").port}`,
};

/** A way that is no link's, as {@link openWay} makes one: what lies on the links does not lie on it. */
export async function openLibvirtWay(toxiproxy_url: string, from: HostRole, to: HostRole): Promise<LibvirtWay> {
  const toxiproxy = new Toxiproxy(toxiproxy_url);
  const pair = pairNumber(from, to);
  const [control, stream] = [PORTS.libvirt_way + pair, PORTS.same + pair];
  const name = `${from}-to-${to}`;
  await makeProxy(toxiproxy, { name: `${name}-libvirt-way`, port: control, upstream: `${to}:${PORTS.libvirt}` });
  await makeProxy(toxiproxy, { name: `${name}-libvirt-stream`, port: stream, upstream: `${to}:${stream}` });
  return { control: `${LINKS_ALIAS}:${control}`, stream: `${LINKS_ALIAS}:${stream}` };
}
