import type { Durable, RecordHeader } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import type { Host } from "./hosts.ts";

/** A promise is written to the host's disk. */
export function writePromise(cluster: Cluster, host: Host, durable: Durable): void {
  const { life } = host;
  host.writing = durable;
  cluster.at(1 + cluster.random.real() * 6, () => {
    if (host.life !== life || !host.up) return;
    host.durable = durable;
    host.writing = null;
    cluster.event(host.role, { kind: "promisePersisted", generation: durable.descriptor.generation });
  });
}

/** A record is appended to the escrow's log. */
export function storeRecord(cluster: Cluster, host: Host, header: RecordHeader): void {
  const body = host.bodies.get(header.generation * 10_000 + header.n);
  if (body === undefined) throw new Error("a record without a body was stored");
  const { life } = host;
  const { random, oracle, schedule } = cluster;
  const disk = schedule.logSync === "disk";
  cluster.at(disk ? 2 + random.real() * 10 : 0.3 + random.real(), () => {
    if (!host.up) return;
    // The agent died while it wrote: a torn record is cut off at the next start.
    if (host.life !== life) return;
    host.log.push({ header, snapshot: body.snapshot, synced: disk });
    oracle.committed(body.snapshot, header.generation);
    cluster.event("escrow", { kind: "recordStored", generation: header.generation, n: header.n });
  });
}
