import type { Recovery, RunRecord } from "../harness/base/run-record.ts";
import type { Verdict } from "../harness/base/timeline.ts";
import type { SuiteRun } from "./read.ts";

/** The runs of one fault at one step under one recovery. */
export interface Cell {
  readonly recovery: Recovery;
  readonly runs: readonly SuiteRun[];
  /** Verdicts with how often each came, the most frequent first. */
  readonly verdicts: readonly { readonly verdict: Verdict; readonly count: number }[];
  readonly as_expected: boolean;
  /** The run to look at first: one that is not as expected where there is one. */
  readonly lead: SuiteRun;
}

export interface MatrixRow {
  /** What breaks, on what: `kill-qemu on target`; several faults are joined by `then`. */
  readonly fault: string;
  /** By step, then by recovery. */
  readonly cells: ReadonlyMap<string, ReadonlyMap<Recovery, Cell>>;
}

/** Fault by protocol step by recovery. */
export interface Matrix {
  readonly steps: readonly string[];
  readonly recoveries: readonly Recovery[];
  readonly rows: readonly MatrixRow[];
}

/** The order of the protocol; other triggers follow in the order of the alphabet, so that a matrix keeps its shape. */
const STEP_ORDER = [
  "",
  "setup",
  "precopy",
  "switchover",
  "target-running",
  "pages",
  "postcopy-paused",
  "recovering",
  "completing",
  "completed",
];

/** Rows and columns of all runs given, in an order that does not depend on theirs. */
export function matrixOf(runs: readonly SuiteRun[]): Matrix {
  const placed = new Map(runs.flatMap(({ record: { cell } }) => (cell === undefined ? [] : [[cell.step, cell.order]])));
  const order = (step: string): number => placed.get(step) ?? rankOf(step);
  const steps = [...new Set(runs.map((run) => stepOf(run.record)))].sort(
    (a, b) => order(a) - order(b) || a.localeCompare(b),
  );
  const recoveries = [...new Set(runs.map((run) => run.record.recovery))].sort();
  const rows = [...Map.groupBy(runs, (run) => faultOf(run.record))]
    .sort(([a], [b]) => (a === NO_FAULT ? -1 : b === NO_FAULT ? 1 : a.localeCompare(b)))
    .map(([fault, ofFault]): MatrixRow => {
      const byStep = Map.groupBy(ofFault, (run) => stepOf(run.record));
      const cells = new Map([...byStep].map(([step, ofStep]) => [step, cellsOf(ofStep)] as const));
      return { fault, cells };
    });
  return { steps, recoveries, rows };
}

export const NO_FAULT = "no fault";

/** What breaks in a run, as the matrix names it. */
export function faultOf(record: RunRecord): string {
  if (record.cell !== undefined) return record.cell.fault;
  return record.faults.length === 0
    ? NO_FAULT
    : record.faults.map(({ fault, on }) => (on === "" ? fault : `${fault} on ${on}`)).join(", then ");
}

/** When it breaks: the step of the first fault, and of the later ones. */
export function stepOf(record: RunRecord): string {
  if (record.cell !== undefined) return record.cell.step;
  return record.faults.map((fault) => fault.at).join(", then ");
}

function cellsOf(runs: readonly SuiteRun[]): Map<Recovery, Cell> {
  const cells = new Map<Recovery, Cell>();
  for (const [recovery, of] of Map.groupBy(runs, (run) => run.record.recovery)) {
    const lead = of.find((run) => !run.record.as_expected) ?? of[0];
    if (lead === undefined) continue;
    const verdicts = [...Map.groupBy(of, (run) => run.record.verdict)]
      .map(([verdict, same]) => ({ verdict, count: same.length }))
      .sort((a, b) => b.count - a.count);
    cells.set(recovery, { recovery, runs: of, verdicts, as_expected: of.every((run) => run.record.as_expected), lead });
  }
  return cells;
}

function rankOf(step: string): number {
  const rank = STEP_ORDER.findIndex((known) => (known === "" ? step === "" : step.includes(known)));
  return rank === -1 ? STEP_ORDER.length : rank;
}
