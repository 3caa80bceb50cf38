import { movers } from "../checks/check.ts";
import { EVIDENCE_VERSION } from "../checks/evidence.ts";
import type { Stage } from "../checks/finding.ts";
import type { FirmwareBlock } from "../checks/firmware.ts";
import { CHECKS } from "../checks/index.ts";
import type { DisksTold, View } from "../checks/view.ts";
import type { StartedVm } from "../fleet/vm.ts";
import { auditStill } from "./audit.ts";
import { configurationOf, planOf } from "./configure.ts";
import { firmwareOf } from "./firmware.ts";
import { stillArriving, watchProgress } from "./gather.ts";
import type { Workload } from "./guests/guest.ts";
import { type EvidenceDraft, lookAt, withFindings } from "./looks.ts";
import { migrateAgain } from "./migrate-again.ts";
import type { Network } from "./net/network.ts";
import { startPlainVm } from "./plain-vm.ts";
import type { RecoveryUnderTest, RunContext } from "./recovery.ts";
import type { Settled } from "./settled.ts";
import { whileStorageIsAway } from "./storage-away.ts";

/** What was there, or was seen of the VM, before the migration. */
export interface Seen {
  readonly network?: Network | undefined;
  /** Absent: its blocks could not be told apart, or nobody restores it. */
  readonly firmware?: readonly FirmwareBlock[] | undefined;
}

/**
 * Looks at everything that the checks need, stage by stage, once it is settled who has the VM. The order matters: who
 * moves is seen while clients are at work; the guest is asked about itself before its memory is looked at, for which it
 * stands still; what the scenario does with the VM comes before the recovery lets go of it, plain QEMU after that, and
 * what came out last of all.
 */
export async function gatherEvidence(
  context: RunContext,
  recovery: RecoveryUnderTest,
  settled: Settled,
  clients: Workload,
  seen: Seen = {},
): Promise<EvidenceDraft> {
  const { guest, vms, request, timeline } = context;
  const { network } = seen;
  const { scenario, checks = CHECKS } = request;
  const held_still = scenario.migration.hold_target === true;
  const gated = recovery.edge !== undefined;
  const { owner } = settled;
  const look = async (stage: Stage, draft: EvidenceDraft, vm: StartedVm | undefined): Promise<EvidenceDraft> =>
    await lookAt(stage, checks, draft, timeline.events, viewOf(context, recovery, vm, seen));
  const storage_away = held_still ? undefined : await whileStorageIsAway(context, settled);
  const watching = watchProgress(
    guest,
    (["source", "target"] as const).map((host) => ({ host, vm: vms.get(host) })),
    held_still ? "none" : owner,
    timeline.emit,
  );
  let draft: EvidenceDraft = {
    version: EVIDENCE_VERSION,
    guest: { kind: guest.kind, can: guest.can },
    held_still,
    gated,
    ...(scenario.afterwards === undefined || recovery.afterwards === undefined
      ? {}
      : { afterwards: scenario.afterwards }),
    owner,
    settled: settled.how,
    ...(settled.unprotected === undefined ? {} : { unprotected: settled.unprotected }),
    ...(storage_away === undefined ? {} : { storage_away }),
    ...(settled.arriving === undefined ? {} : { not_looked_at: stillArriving(settled.arriving) }),
    progress: [],
    findings: {},
  };
  // While it is watched whether a second instance moves, the owner can already be asked about itself.
  const named = owner === "none" ? undefined : vms.get(owner);
  const early = named?.alive === true && !held_still ? look("watched", draft, named) : undefined;
  // It is awaited below, behind what may fail first: then its own failure is nobody's, and must not end the process.
  early?.catch(() => undefined);
  draft = { ...draft, progress: await watching };
  // Of two instances that move one may have been succeeded: who lets output out is seen while clients are at work.
  if (gated && movers(draft).length > 1) draft = { ...draft, ...(await recovery.succeeded(owner)) };
  const touched = await recovery.unprotect?.(owner);
  if (touched !== undefined) draft = { ...draft, not_looked_at: draft.not_looked_at ?? touched };
  await clients.stop();
  const served = named?.alive === true && !held_still;
  await Promise.all([network?.stop(served), guest.client?.stop(owner !== "none")]);
  await recovery.count(owner);
  // Whoever runs is what a client would meet, whatever the manager thinks of it: that instance is looked at.
  const found = owner === "none" ? movers(draft)[0] : owner;
  const there = found === undefined ? undefined : vms.get(found);
  const vm = there?.alive === true ? there : undefined;
  draft = early === undefined ? await look("watched", draft, vm) : withFindings(draft, (await early).findings);
  draft = await look("quiet", draft, vm);
  draft = await look("afterwards", draft, vm);
  await recovery.count(owner);
  await recovery.release();
  const last = (scenario.afterwards === "migrate-protected" ? vms.get("target") : undefined) ?? vm;
  draft = await look("let-go", draft, last);
  return await look("end", draft, last);
}

function viewOf(
  context: RunContext,
  recovery: RecoveryUnderTest,
  vm: StartedVm | undefined,
  { network, firmware }: Seen,
): View {
  const { guest, vms, request, fleet, disks, images, looking } = context;
  const { client } = guest;
  const { accel } = request;
  return {
    guest,
    accel,
    fleet,
    vms,
    vm,
    ...(disks === undefined ? {} : { storage: (told: DisksTold) => disks.look(told) }),
    ...(client === undefined ? {} : { client: () => client.look() }),
    ...(images === undefined ? {} : { images: () => images.look(vms) }),
    ...(recovery.edge === undefined ? {} : { edge: recovery.edge }),
    ...(network === undefined ? {} : { network: () => network.findings }),
    ...(firmware === undefined
      ? {}
      : { firmware: async (owner) => ({ before: firmware, after: await firmwareOf(owner) }) }),
    afterwards: async (owner) => await recovery.afterwards?.(owner),
    migrateAgain: (owner) =>
      recovery.migrateAgain?.(owner) ??
      migrateAgain(
        fleet,
        guest,
        owner,
        vms,
        (role) => startPlainVm(context, role, { incoming: true, paused: false }),
        looking,
        { configuration: configurationOf(request), postcopy: planOf(request).switchover !== "never" },
      ),
    compareStill: (owner) => auditStill(vms.get("source"), owner, accel, looking),
    leftovers: async () => undefined,
  };
}
