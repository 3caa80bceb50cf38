import type { HostRole } from "../../base/timeline.ts";
import { linkAddress, type Way } from "../../fleet/links.ts";
import { PORTS } from "../../fleet/ports.ts";

/** The link between two hosts of a stock run: where a QEMU listens, and where one connects to: Toxiproxy, on its behalf. */
export function linkWay(from: HostRole, to: HostRole): Way {
  return { listen: { host: "0.0.0.0", port: PORTS.link }, connect: linkAddress(from, to) };
}
