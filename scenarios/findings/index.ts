import type { Scenario } from "../../harness/run/scenario.ts";
import { lastAcknowledgementLost } from "./last-acknowledgement-lost.ts";
import { libvirtResume } from "./libvirt-resume.ts";
import { multifdRecovery } from "./multifd-recovery.ts";
import { multifdWithPostcopy } from "./multifd-with-postcopy.ts";
import { pauseWhenAllIsSent } from "./pause-when-all-is-sent.ts";
import { releaseRamRecovery } from "./release-ram-recovery.ts";
import { resetWithoutAnnouncement } from "./reset-without-announcement.ts";
import { silenceUnnoticed } from "./silence-unnoticed.ts";
import { staleHotPages } from "./stale-hot-pages.ts";
import { stopHangsTheMonitor } from "./stop-hangs-the-monitor.ts";
import { targetKilledAtSwitchover } from "./target-killed-at-switchover.ts";
import { targetRefusesState } from "./target-refuses-state.ts";
import { virtioTo11 } from "./virtio-to-11-1.ts";

/**
 * What stock QEMU and libvirt do wrong, each as the smallest schedule that shows it, with the versions that do, and why that
 * is expected of them. They are run by name, or with `--group findings`; `all` leaves them out.
 */
export const FINDINGS: readonly Scenario[] = [
  lastAcknowledgementLost,
  libvirtResume,
  multifdRecovery,
  multifdWithPostcopy,
  pauseWhenAllIsSent,
  releaseRamRecovery,
  resetWithoutAnnouncement,
  silenceUnnoticed,
  staleHotPages,
  stopHangsTheMonitor,
  targetKilledAtSwitchover,
  targetRefusesState,
  virtioTo11,
];
