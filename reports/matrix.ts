import { type RunRecord, underText } from "../harness/base/run-record.ts";
import type { Verdict } from "../harness/base/timeline.ts";
import type { SuiteRun } from "./read.ts";

/** The runs of one fault at one step under one recovery, with one manager. */
export interface Cell {
  /** "stock libvirt", "txsync". */
  readonly under: string;
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
  /** By step, then by what they were under. */
  readonly cells: ReadonlyMap<string, ReadonlyMap<string, Cell>>;
}

/** Fault by protocol step by what it was under: a recovery, and a manager where that is a choice. */
export interface Matrix {
  readonly steps: readonly string[];
  readonly unders: readonly string[];
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
  const unders = [...new Set(runs.map((run) => underText(run.record)))].sort();
  const rows = [...Map.groupBy(runs, (run) => faultOf(run.record))]
    .sort(([a], [b]) => (a === NO_FAULT ? -1 : b === NO_FAULT ? 1 : a.localeCompare(b)))
    .map(([fault, ofFault]): MatrixRow => {
      const byStep = Map.groupBy(ofFault, (run) => stepOf(run.record));
      const cells = new Map([...byStep].map(([step, ofStep]) => [step, cellsOf(ofStep)] as const));
      return { fault, cells };
    });
  return { steps, unders, rows };
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

function cellsOf(runs: readonly SuiteRun[]): Map<string, Cell> {
  return cellsBy(runs, (run) => underText(run.record));
}

function cellsBy(runs: readonly SuiteRun[], columnOf: (run: SuiteRun) => string): Map<string, Cell> {
  const cells = new Map<string, Cell>();
  for (const [under, of] of Map.groupBy(runs, columnOf)) {
    const lead = of.find((run) => !run.record.as_expected) ?? of[0];
    if (lead === undefined) continue;
    const verdicts = [...Map.groupBy(of, (run) => run.record.verdict)]
      .map(([verdict, same]) => ({ verdict, count: same.length }))
      .sort((a, b) => b.count - a.count);
    cells.set(under, { under, runs: of, verdicts, as_expected: of.every((run) => run.record.as_expected), lead });
  }
  return cells;
}

/** Every scenario in a row; what it was under, and with which QEMU where several are in it, in columns. */
export interface SideBySide {
  readonly columns: readonly string[];
  readonly rows: readonly { readonly scenario: string; readonly cells: ReadonlyMap<string, Cell> }[];
}

/** Columns and rows in the order in which the runs are. Nothing where there is one column: it would say nothing new. */
export function sideBySideOf(runs: readonly SuiteRun[]): SideBySide | undefined {
  const several = new Set(runs.map(({ record }) => record.qemu)).size > 1;
  const columnOf = ({ record }: SuiteRun): string =>
    several ? `${underText(record)}, ${record.qemu === "" ? record.qemu_version : record.qemu}` : underText(record);
  const columns = [...new Set(runs.map(columnOf))];
  if (columns.length < 2) return undefined;
  const rows = [...Map.groupBy(runs, ({ record }) => record.scenario)].map(([scenario, of]) => ({
    scenario,
    cells: cellsBy(of, columnOf),
  }));
  return { columns, rows };
}

function rankOf(step: string): number {
  const rank = STEP_ORDER.findIndex((known) => (known === "" ? step === "" : step.includes(known)));
  return rank === -1 ? STEP_ORDER.length : rank;
}
