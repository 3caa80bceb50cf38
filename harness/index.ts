/** What others import: `import { defineScenario, startFerryman } from "ferryman"`. */
export { SCENARIOS } from "../scenarios/index.ts";
export type { Manager } from "./base/configuration.ts";
export { UserError } from "./base/errors.ts";
export type { CheckResult, GuestKind, GuestName, Recovery, RunRecord } from "./base/run-record.ts";
export type { HostRole, LinkName, TimelineEvent, Verdict } from "./base/timeline.ts";
export { type WaitOptions, waitFor } from "./base/wait.ts";
export { type Case, type Check, type Judgement, judged } from "./checks/check.ts";
export type { Evidence } from "./checks/evidence.ts";
export { type Finding, finding, type Gathered, type Stage } from "./checks/finding.ts";
export { CHECKS } from "./checks/index.ts";
export { type Judged, judge } from "./checks/verdict.ts";
export type { GuestView, View } from "./checks/view.ts";
export { type JudgedAgain, judgeFolder } from "./cli/judge.ts";
export type { AnyFault, FaultContext, FaultSpec, Heal, OwnFault } from "./faults/index.ts";
export type { StartedFleet } from "./fleet/fleet.ts";
export type { StartedHost } from "./fleet/host.ts";
export type { StartedVm } from "./fleet/vm.ts";
export { defineScenario, type ScenarioOfYours } from "./library/define.ts";
export {
  type Ferryman,
  type FerrymanOptions,
  type PlayedRun,
  type PlayOptions,
  startFerryman,
} from "./library/ferryman.ts";
export { MATCHERS } from "./library/matchers.ts";
export type {
  ClientFound,
  HistoryClient,
  HistoryClientInRun,
  Operation,
} from "./run/custom/history-client.ts";
export type {
  GuestUnderTest,
  LocalFile,
  OwnGuest,
  OwnGuestFiles,
  OwnGuestInRun,
  Workload,
} from "./run/guests/guest.ts";
export type { Guest } from "./run/guests/index.ts";
export { type GuestSettings, IntegrityGuest } from "./run/guests/integrity.ts";
export { LinuxGuest } from "./run/guests/linux.ts";
export type { Reach } from "./run/net/reach.ts";
export { type FaultPlan, type MigrationPlan, PURE_POSTCOPY, type Scenario, type Trigger } from "./run/scenario.ts";
