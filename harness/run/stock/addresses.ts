import type { HostRole } from "../../base/timeline.ts";
import { linkAddress } from "../../fleet/links.ts";
import { PORTS } from "../../fleet/ports.ts";

/** Where a QEMU of a stock run listens. */
export function listenUri(): string {
  return uriOf({ host: "0.0.0.0", port: PORTS.link });
}

/** Where a QEMU of a stock run connects to: Toxiproxy, on behalf of the other host. */
export function linkUri(from: HostRole, to: HostRole): string {
  return uriOf(linkAddress(from, to));
}

/** An address as QEMU's `migrate` and `migrate-incoming` take it. */
export function uriOf({ host, port }: { readonly host: string; readonly port: number }): string {
  return `tcp:${host}:${port}`;
}
