import { expect } from "vitest";
import type { Accel, GuestKind, Recovery, RunRecord } from "../harness/base/run-record.ts";
import type { RunEnvironment, RunRequest } from "../harness/run/request.ts";
import type { Scenario } from "../harness/run/scenario.ts";
import { runSuite } from "../harness/run/suite.ts";
import { Turns } from "../harness/run/turn.ts";
import type { TxsyncSettings } from "../harness/run/txsync/settings.ts";
import { EVERY_SCENARIO, SCENARIOS } from "./index.ts";

/** How tests on real parts run scenarios. */

const MIB = 1024 ** 2;
const SEED = 7;
/** What a run has by default. */
export const MEMORY_MIB = 128;
/** More runs than this that prove nothing are a matter of their own: they are not run once more. */
const UNKNOWN_MAX = 3;

/** Those that every `npm test` runs; the others are tagged `large`, and are for `npm run test:large`. */
export const EVERY_TIME = SCENARIOS.filter(({ tags = [] }: Scenario) => !tags.includes("large"));

/**
 * How every `npm test` plays a scenario: half the memory that a user's run has by default, carried at half the rate. All its
 * moments lie where they lie for a user, and two processors have a quarter less to do. Not for a guest that half the memory
 * is too small for, nor where the fault is one of pre-copy: with half the memory that may be over before it strikes.
 */
export function halved(scenario: Scenario): { readonly scenario: Scenario; readonly memory_mib: number } {
  const in_precopy = scenario.faults.some(({ at }) => at.on === "step" && at.step === "precopy");
  if (scenario.guests[0] !== "integrity" || in_precopy) return { scenario, memory_mib: MEMORY_MIB };
  const { migration } = scenario;
  const bandwidth_bytes_per_s = migration.bandwidth_bytes_per_s / 2;
  return { scenario: { ...scenario, migration: { ...migration, bandwidth_bytes_per_s } }, memory_mib: MEMORY_MIB / 2 };
}

export interface Asked {
  readonly guest?: GuestKind;
  readonly accel?: Accel;
  readonly recovery?: Recovery;
  readonly memory_mib?: number;
}

export function request(id: string, asked: Asked = {}): RunRequest {
  const { guest = "integrity", accel = "tcg", recovery = "stock", memory_mib = MEMORY_MIB } = asked;
  const scenario = EVERY_SCENARIO.find((one) => one.id === id);
  if (!scenario) throw new Error(`there is no scenario ${id}`);
  return {
    scenario,
    recovery,
    guest,
    accel,
    accel_why: "the test asks for it",
    seed: SEED,
    memory_bytes: memory_mib * MIB,
    keep: false,
  };
}

/** Under txsync, with settings of the agents' own over those that are usual. */
export function withTxsync(
  ids: readonly string[],
  txsync: Partial<TxsyncSettings>,
  asked: Asked = {},
): readonly RunRequest[] {
  return ids.map((id) => ({ ...request(id, { recovery: "txsync", ...asked }), txsync }));
}

/** QEMU's own migration carries the VM (`--switchover-by qemu`). */
export function byQemu(ids: readonly string[], asked: Asked = {}): readonly RunRequest[] {
  return withTxsync(ids, { switchover_by: "qemu" }, asked);
}

export async function play(
  environment: RunEnvironment,
  requests: readonly RunRequest[],
  jobs = 2,
): Promise<readonly RunRecord[]> {
  const finished = await runSuite(environment, requests, jobs, ({ record }) => {
    const { scenario, recovery, guest, accel, qemu, memory_bytes, verdict, timings, why, tries = 1 } = record;
    const again = tries > 1 ? `, asked to migrate ${tries} times` : "";
    console.log(
      `${scenario} ${recovery} ${guest}/${accel} ${qemu} ${memory_bytes / MIB} MiB: ${verdict}, ${timings.total_ms} ms${again}; ${why}`,
    );
  });
  return finished.map(({ record }) => record);
}

/**
 * Under txsync VMs are carried one at a time (a run has three agents and two QEMUs, and leases that must not run out for
 * want of a processor); the next VM boots while the last one is looked at (`Turns`). What is unknown proves nothing,
 * neither way, and is run once more, aloud; a wrong verdict is wrong at once, and so are more than a few that prove nothing.
 */
export async function playWithAgents(
  environment: RunEnvironment,
  requests: readonly RunRequest[],
): Promise<readonly RunRecord[]> {
  const oneByOne = { turns: new Turns(), ...environment };
  const records = await play(oneByOne, requests);
  const open = records.filter(({ verdict }) => verdict === "unknown");
  expect(open.length > UNKNOWN_MAX ? open.map(story) : []).toEqual([]);
  for (const record of open) console.log(`once more, because it proved nothing: ${story(record)}`);
  const again = await play(
    oneByOne,
    requests.filter(({ scenario }) => open.some((record) => record.scenario === scenario.id)),
  );
  return [...records.filter(({ verdict }) => verdict !== "unknown"), ...again];
}

/** Those that did not come out as expected, as stories. */
export function wrong(records: readonly RunRecord[]): readonly string[] {
  return records.filter(({ as_expected }) => !as_expected).map(story);
}

/** What is said when it is not as expected: enough to see why without opening the folder. */
function story({ scenario, verdict, expected, why, error, checks, command }: RunRecord): string {
  const lines = checks.map(({ check, verdict: said, summary }) => `  ${check}: ${said}, ${summary}`);
  return [`${scenario} is ${verdict}, expected ${expected}: ${why}`, ...(error ? [error] : []), ...lines, command].join(
    "\n",
  );
}
