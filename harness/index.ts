/** What others import: `import { defineScenario, startFerryman } from "ferryman"`. */
export type { Manager } from "./base/configuration.ts";
export { UserError } from "./base/errors.ts";
export type { CheckResult, GuestKind, Recovery, RunRecord } from "./base/run-record.ts";
export type { HostRole, LinkName, TimelineEvent, Verdict } from "./base/timeline.ts";
export { type Case, type Check, type Judgement, judged } from "./checks/check.ts";
export type { Evidence } from "./checks/evidence.ts";
export { type Finding, finding, type Gathered, type Stage } from "./checks/finding.ts";
export { CHECKS } from "./checks/index.ts";
export { type Judged, judge } from "./checks/verdict.ts";
export type { GuestView, View } from "./checks/view.ts";
export { type JudgedAgain, judgeFolder } from "./cli/judge.ts";
export type { FaultSpec } from "./faults/index.ts";
export { defineScenario, type ScenarioOfYours } from "./library/define.ts";
export {
  type Ferryman,
  type FerrymanOptions,
  type PlayedRun,
  type PlayOptions,
  startFerryman,
} from "./library/ferryman.ts";
export { MATCHERS } from "./library/matchers.ts";
export { type FaultPlan, type MigrationPlan, PURE_POSTCOPY, type Scenario, type Trigger } from "./run/scenario.ts";
