import type { Scenario } from "../harness/run/scenario.ts";
import { noFault } from "./controls/no-fault.ts";
import { stillAudit } from "./controls/still-audit.ts";
import { clocksStep } from "./double/clocks-step.ts";
import { escrowAgentRestartedDuringRestore } from "./double/escrow-agent-restarted-during-restore.ts";
import { escrowReplacedThenAgentsRestarted } from "./double/escrow-replaced-then-agents-restarted.ts";
import { generationChangesDuringTake } from "./double/generation-changes-during-take.ts";
import { linkCutTwiceHealed } from "./double/link-cut-twice-healed.ts";
import { recoveredThenMigratedAgain } from "./double/recovered-then-migrated-again.ts";
import { recoveredThenRebooted } from "./double/recovered-then-rebooted.ts";
import { restoredThenSourceAgentRestarted } from "./double/restored-then-source-agent-restarted.ts";
import { sourceHostKilledThenEscrowAgentRestarted } from "./double/source-host-killed-then-escrow-agent-restarted.ts";
import { sourceHostKilledThenLinkCut } from "./double/source-host-killed-then-link-cut.ts";
import { sourceHostKilledWhileAheadThenEscrowAgentRestarted } from "./double/source-host-killed-while-ahead-then-escrow-agent-restarted.ts";
import { targetDisksKilledThenHostKilled } from "./double/target-disks-killed-then-host-killed.ts";
import { targetKilledDuringRestore } from "./double/target-killed-during-restore.ts";
import { escrowAgentRestarted } from "./escrow/escrow-agent-restarted.ts";
import { escrowCutOff } from "./escrow/escrow-cut-off.ts";
import { escrowCutOutputHeld } from "./escrow/escrow-cut-output-held.ts";
import { escrowHostKilled } from "./escrow/escrow-host-killed.ts";
import { escrowKilled } from "./escrow/escrow-killed.ts";
import { escrowMemoryFull } from "./escrow/escrow-memory-full.ts";
import { escrowReplaced } from "./escrow/escrow-replaced.ts";
import { escrowReplacedOverASlowLink } from "./escrow/escrow-replaced-over-a-slow-link.ts";
import { escrowStorageFails } from "./escrow/escrow-storage-fails.ts";
import { FINDINGS } from "./findings/index.ts";
import { cutBetweenPackageAndRunning } from "./network/cut-between-package-and-running.ts";
import { cutDuringHandoff } from "./network/cut-during-handoff.ts";
import { escrowLinkBlinks } from "./network/escrow-link-blinks.ts";
import { escrowLinkDiesInRecords } from "./network/escrow-link-dies-in-records.ts";
import { fourVcpusWait } from "./network/four-vcpus-wait.ts";
import { linkCutForGood } from "./network/link-cut-for-good.ts";
import { linkCutHealed } from "./network/link-cut-healed.ts";
import { linkCutOneWay } from "./network/link-cut-one-way.ts";
import { linkCutSilentHealed } from "./network/link-cut-silent-healed.ts";
import { linkResetTellsOne } from "./network/link-reset-tells-one.ts";
import { linkSlow } from "./network/link-slow.ts";
import { linksInPieces } from "./network/links-in-pieces.ts";
import { logSlowerThanTheGuest } from "./network/log-slower-than-the-guest.ts";
import { networkStorm } from "./network/network-storm.ts";
import { oneOfFourVcpusWaits } from "./network/one-of-four-vcpus-waits.ts";
import { storageFull } from "./network/storage-full.ts";
import { storageKilledAndBack } from "./network/storage-killed-and-back.ts";
import { storageLinkCut } from "./network/storage-link-cut.ts";
import { storageLinkCutForGood } from "./network/storage-link-cut-for-good.ts";
import { storageLinkSilent } from "./network/storage-link-silent.ts";
import { storageLinkSlow } from "./network/storage-link-slow.ts";
import { operatorPauses } from "./source/operator-pauses.ts";
import { protectedForLong } from "./source/protected-for-long.ts";
import { protectedHostKilled } from "./source/protected-host-killed.ts";
import { protectedSourceHostKilledAtSwitchover } from "./source/protected-source-host-killed-at-switchover.ts";
import { sourceAgentRestarted } from "./source/source-agent-restarted.ts";
import { sourceAgentRestartedAtSwitchover } from "./source/source-agent-restarted-at-switchover.ts";
import { sourceAgentRestartedBeforePackage } from "./source/source-agent-restarted-before-package.ts";
import { sourceCutOff } from "./source/source-cut-off.ts";
import { sourceDiskFull } from "./source/source-disk-full.ts";
import { sourceFrozen } from "./source/source-frozen.ts";
import { sourceHostKilled } from "./source/source-host-killed.ts";
import { sourceHostKilledBeforeSwitchover } from "./source/source-host-killed-before-switchover.ts";
import { sourceHostKilledTooEarly } from "./source/source-host-killed-too-early.ts";
import { sourceHostKilledWhileAhead } from "./source/source-host-killed-while-ahead.ts";
import { sourceKilledBeforeSwitchover } from "./source/source-killed-before-switchover.ts";
import { sourceQemuKilled } from "./source/source-qemu-killed.ts";
import { unprotectedHostKilledBeforeSwitchover } from "./source/unprotected-host-killed-before-switchover.ts";
import { unprotectedHostKilledWhileAhead } from "./source/unprotected-host-killed-while-ahead.ts";
import { targetAgentKilled } from "./target/target-agent-killed.ts";
import { targetAgentKilledWithWritesOpen } from "./target/target-agent-killed-with-writes-open.ts";
import { targetAgentRestarted } from "./target/target-agent-restarted.ts";
import { targetCutOffLongThenHealed } from "./target/target-cut-off-long-then-healed.ts";
import { targetDisksFrozen } from "./target/target-disks-frozen.ts";
import { targetDisksKilled } from "./target/target-disks-killed.ts";
import { targetFrozen } from "./target/target-frozen.ts";
import { targetHostKilled } from "./target/target-host-killed.ts";
import { targetHostKilledAfterHandoff } from "./target/target-host-killed-after-handoff.ts";
import { targetHostKilledCompared } from "./target/target-host-killed-compared.ts";
import { targetHostKilledConnected } from "./target/target-host-killed-connected.ts";
import { targetHostKilledWatched } from "./target/target-host-killed-watched.ts";
import { targetKilledBeforeSwitchover } from "./target/target-killed-before-switchover.ts";
import { targetQemuFrozen } from "./target/target-qemu-frozen.ts";
import { targetQemuKilled } from "./target/target-qemu-killed.ts";

/** What ought to hold, and what is expected to be lost: a new one is a file beside these and a line here. */
export const SCENARIOS: readonly Scenario[] = [
  noFault,
  stillAudit,
  sourceQemuKilled,
  sourceHostKilled,
  sourceHostKilledTooEarly,
  sourceFrozen,
  sourceDiskFull,
  sourceKilledBeforeSwitchover,
  protectedHostKilled,
  sourceHostKilledBeforeSwitchover,
  unprotectedHostKilledBeforeSwitchover,
  sourceHostKilledWhileAhead,
  unprotectedHostKilledWhileAhead,
  protectedSourceHostKilledAtSwitchover,
  operatorPauses,
  protectedForLong,
  targetQemuKilled,
  targetQemuFrozen,
  targetHostKilled,
  targetHostKilledCompared,
  targetHostKilledConnected,
  targetHostKilledWatched,
  targetHostKilledAfterHandoff,
  targetFrozen,
  targetKilledBeforeSwitchover,
  linkCutHealed,
  linkCutSilentHealed,
  linkCutForGood,
  linkSlow,
  linksInPieces,
  networkStorm,
  logSlowerThanTheGuest,
  storageLinkCut,
  storageLinkSilent,
  storageLinkSlow,
  storageLinkCutForGood,
  storageKilledAndBack,
  storageFull,
  fourVcpusWait,
  oneOfFourVcpusWaits,
  linkCutTwiceHealed,
  sourceAgentRestarted,
  sourceAgentRestartedBeforePackage,
  sourceAgentRestartedAtSwitchover,
  targetAgentRestarted,
  escrowAgentRestarted,
  targetAgentKilled,
  targetAgentKilledWithWritesOpen,
  targetDisksKilled,
  targetDisksFrozen,
  escrowKilled,
  escrowMemoryFull,
  escrowStorageFails,
  escrowHostKilled,
  escrowReplaced,
  escrowReplacedOverASlowLink,
  escrowCutOff,
  escrowCutOutputHeld,
  sourceCutOff,
  linkCutOneWay,
  linkResetTellsOne,
  targetCutOffLongThenHealed,
  cutBetweenPackageAndRunning,
  cutDuringHandoff,
  escrowLinkBlinks,
  escrowLinkDiesInRecords,
  generationChangesDuringTake,
  targetKilledDuringRestore,
  targetDisksKilledThenHostKilled,
  sourceHostKilledThenLinkCut,
  sourceHostKilledThenEscrowAgentRestarted,
  sourceHostKilledWhileAheadThenEscrowAgentRestarted,
  escrowAgentRestartedDuringRestore,
  escrowReplacedThenAgentsRestarted,
  restoredThenSourceAgentRestarted,
  recoveredThenRebooted,
  recoveredThenMigratedAgain,
  clocksStep,
];

/** Those, and what QEMU and libvirt are known to do wrong. */
export const EVERY_SCENARIO: readonly Scenario[] = [...SCENARIOS, ...FINDINGS];
