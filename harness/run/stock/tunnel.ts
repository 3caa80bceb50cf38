import { waitFor } from "../../base/wait.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { StartedHost } from "../../fleet/host.ts";
import type { Way } from "../../fleet/links.ts";

/** For a process of a few lines to come up. */
const UP_MS = 10_000;

/**
 * Carries connections from one socket to another, one for one, and ends both when either ends: what a manager does whose
 * QEMUs migrate by Unix sockets (libvirt, VIR_MIGRATE_TUNNELLED and the sockets of its non-tunnelled migration).
 */
const CARRIER = `
const net = require("node:net");
const [from, to] = process.argv.slice(1).map((text) => JSON.parse(text));
net.createServer((near) => {
  const far = net.connect(to);
  near.setNoDelay(true); far.setNoDelay(true);
  near.pipe(far); far.pipe(near);
  for (const [one, other] of [[near, far], [far, near]]) {
    one.on("error", () => other.destroy()); one.on("close", () => other.destroy());
  }
}).listen(from, () => console.log("up"));`;

/** The sockets of a stream that goes by Unix sockets. */
export interface TunnelEnds {
  /** On the host that receives: where its QEMU listens. */
  readonly listen: string;
  /** On the host that sends: where its QEMU connects to. */
  readonly connect: string;
}

/** Starts a carrier on each host; they end with their hosts. @throws WaitTimeoutError when one does not come up */
export async function openTunnel(name: string, from: StartedHost, to: StartedHost, way: Way): Promise<TunnelEnds> {
  const ends = { listen: `/run/ferryman/${name}-in.sock`, connect: `/run/ferryman/${name}-out.sock` };
  await Promise.all([carry(to, way.listen, { path: ends.listen }), carry(from, { path: ends.connect }, way.connect)]);
  return ends;
}

async function carry(host: StartedHost, from: object, to: object): Promise<void> {
  const words = [from, to].map((end) => JSON.stringify(end));
  const carrier = await host.spawn([AGENT_FILES.node, "-e", CARRIER, ...words]);
  await waitFor(
    { what: `the carrier of the stream on ${host.role}`, timeout_ms: UP_MS, lastLines: () => carrier.lastLines() },
    () => (carrier.lastLines().includes("up") ? true : undefined),
  );
}
