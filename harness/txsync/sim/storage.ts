import type { Durable, RecordHeader } from "../core/index.ts";
import type { Cluster } from "./cluster.ts";
import { crashAgent, type Host, startAgent } from "./hosts.ts";
import { apply, type Changes, type Memory, sameMemory } from "./memory.ts";
import { type Snapshot, Violation } from "./oracle.ts";

/** A record on its way, and what it has to give: the digest that whoever copied the pages put into it. */
export interface Body {
  readonly header: RecordHeader;
  readonly snapshot: Snapshot;
  readonly changes: Changes;
  readonly bytes: number;
  /** The base that it is relative to, in the end. */
  readonly relativeTo: number;
}

export interface StoredRecord extends Body {
  synced: boolean;
}

/** A supervisor starts an agent that stopped. */
export const UP_AGAIN_MS = 150;

export function keyOf({ generation, n }: { readonly generation: number; readonly n: number }): number {
  return generation * 10_000 + n;
}

/** A promise is written to the host's disk. */
export function writePromise(cluster: Cluster, host: Host, durable: Durable): void {
  const { life } = host;
  const { faults, random } = cluster;
  host.writing = durable;
  cluster.at(1 + random.real() * 6, () => {
    if (host.life !== life || !host.up) return;
    if (faults.fsyncFails(host.role)) {
      // Nobody knows whether it is on disk: the agent comes back and reads what is there.
      stopAndComeBack(cluster, host);
      return;
    }
    host.durable = durable;
    host.writing = null;
    cluster.event(host.role, { kind: "promisePersisted", generation: durable.descriptor.generation });
  });
}

/** A record is appended to the escrow's log, if the disk takes it and the log finds nothing wrong with it. */
export function storeRecord(cluster: Cluster, host: Host, header: RecordHeader): void {
  const body = host.bodies.get(keyOf(header));
  if (body === undefined) throw new Error("a record without a body was stored");
  const { life } = host;
  const { random, schedule, faults } = cluster;
  const { generation, n } = header;
  const last = host.log[host.log.length - 1]?.header;
  if (last?.generation === generation && last.n >= n)
    throw new Violation(5, `record ${n} of generation ${generation} is to be stored a second time`);
  const disk = schedule.logSync === "disk";
  const sync_ms = disk ? 2 + random.real() * 10 : 0.3 + random.real();
  const write_ms = body.bytes / schedule.size.disk_bytes_per_ms + faults.store_ms;
  cluster.at(sync_ms + write_ms, () => {
    // The agent died while it wrote: a torn record is cut off at the next start.
    if (!host.up || host.life !== life) return;
    if (faults.diskFull || host.finished) {
      const why = faults.diskFull ? "the disk is full" : null;
      cluster.event("escrow", { kind: "recordFailed", generation, n, why });
      return;
    }
    const after =
      host.fold === null ? body.snapshot.memory : foldWith(host.fold, host.log, body, cluster.model.armedLate);
    if (after === null || body.relativeTo !== cluster.vm.baseId) {
      cluster.event("escrow", { kind: "recordRefused", generation, n, why: "base and log do not give its digest" });
      // Where the core does not listen the log has it all the same.
      if (host.state.log?.last !== n) return;
    }
    const fails = disk && faults.fsyncFails("escrow");
    if (!fails || random.chance(0.5)) keep(cluster, host, body, disk);
    if (fails) stopAndComeBack(cluster, host);
    else cluster.event("escrow", { kind: "recordStored", generation, n });
  });
}

function keep(cluster: Cluster, host: Host, body: Body, synced: boolean): void {
  host.log.push({ ...body, synced });
  // Relative to a base that is not here, or not yet: it restores nothing, and nobody may say that it does.
  if (host.fold === null) return;
  const fold = foldOf(cluster.vm.base, host.log);
  host.fold = fold;
  cluster.oracle.committed(body.snapshot, body.header, fold);
}

/** What base and log would give with the record; `null` where that is not what it says itself. */
export function foldWith(
  fold: Memory,
  log: readonly Body[],
  { header, snapshot, changes }: Body,
  blind: boolean,
): Memory | null {
  if (header.since === "base") {
    const has = new Set(changes.pages);
    for (const record of log) if (record.changes.pages.some((page) => !has.has(page))) return null;
  }
  const after = fold.slice();
  apply(after, changes);
  // A digest is of what changed: where pages that never did are wrong it says nothing.
  if (blind) return after;
  return sameMemory(after, snapshot.memory) ? after : null;
}

/** What base and log give, up to a transaction. */
export function foldOf(base: Memory | null, log: readonly Body[], upTo = Number.POSITIVE_INFINITY): Memory {
  if (base === null) throw new Error("there is no base");
  let memory = base.slice();
  for (const { header, changes } of log) {
    if (header.n > upTo) break;
    if (header.since === "base") memory = base.slice();
    apply(memory, changes);
  }
  return memory;
}

/** The log is shorter than it was. */
export function cutLog(cluster: Cluster, host: Host, length: number): void {
  const { base, ofSwitchover, pagesEscrow } = cluster.vm;
  // A copy of a running VM's memory is nowhere else.
  const lost = base === null || (!ofSwitchover && pagesEscrow > 0);
  if (length < host.log.length) {
    host.log.length = Math.max(0, length);
    if (!lost) host.fold = foldOf(cluster.vm.base, host.log);
  }
  if (lost) host.fold = null;
}

function stopAndComeBack(cluster: Cluster, host: Host): void {
  crashAgent(cluster, host);
  cluster.at(UP_AGAIN_MS, () => startAgent(cluster, host));
}
