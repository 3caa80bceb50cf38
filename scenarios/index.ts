import type { Scenario } from "../harness/run/scenario.ts";
import { noFault } from "./controls/no-fault.ts";
import { stillAudit } from "./controls/still-audit.ts";
import { linkCutTwiceHealed } from "./double/link-cut-twice-healed.ts";
import { linkCutForGood } from "./network/link-cut-for-good.ts";
import { linkCutHealed } from "./network/link-cut-healed.ts";
import { linkCutSilentHealed } from "./network/link-cut-silent-healed.ts";
import { linkSlow } from "./network/link-slow.ts";
import { sourceFrozen } from "./source/source-frozen.ts";
import { sourceHostKilled } from "./source/source-host-killed.ts";
import { sourceKilledBeforeSwitchover } from "./source/source-killed-before-switchover.ts";
import { sourceQemuKilled } from "./source/source-qemu-killed.ts";
import { targetFrozen } from "./target/target-frozen.ts";
import { targetHostKilled } from "./target/target-host-killed.ts";
import { targetKilledBeforeSwitchover } from "./target/target-killed-before-switchover.ts";
import { targetQemuKilled } from "./target/target-qemu-killed.ts";

/** Every scenario: a new one is a file beside these and a line here. */
export const SCENARIOS: readonly Scenario[] = [
  noFault,
  stillAudit,
  sourceQemuKilled,
  sourceHostKilled,
  sourceFrozen,
  sourceKilledBeforeSwitchover,
  targetQemuKilled,
  targetHostKilled,
  targetFrozen,
  targetKilledBeforeSwitchover,
  linkCutHealed,
  linkCutSilentHealed,
  linkCutForGood,
  linkSlow,
  linkCutTwiceHealed,
];
