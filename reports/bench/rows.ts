import type { Measure } from "../../harness/bench/measure.ts";
import { EPOCHS, RECOVERIES } from "../../harness/bench/plan.ts";
import type { BenchResult, ConfigurationFigures, Group } from "../../harness/bench/result.ts";
import type { Spread } from "../../harness/bench/spread.ts";
import { formatBytes, formatCount } from "../model/format.ts";

/** A table as plain cells: the terminal, the Markdown and the page each draw the same one. */
export interface BenchTable {
  readonly title: string;
  /** What the columns mean, one or two sentences. */
  readonly hint: string;
  readonly heading: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** `128 MiB`, `1 GiB`. */
export function memoryName(memory_mib: number): string {
  return formatBytes(memory_mib * 1024 ** 2);
}

/** `1,000 pages/s`; 0 is as fast as the guest goes. */
export function rateName(pages_per_s: number): string {
  return pages_per_s === 0 ? "full speed" : `${formatCount(pages_per_s)} pages/s`;
}

/** `3.1 (2.8 to 4.0)`: the median, and the least and the greatest; `–` where there is nothing. */
export function spreadCell(spread: Spread | undefined, show: (value: number) => string = shortNumber): string {
  if (spread === undefined) return "–";
  const { count, median, min, max } = spread;
  return count === 1 ? show(median) : `${show(median)} (${show(min)} to ${show(max)})`;
}

/** About three digits, with separators: `0.42`, `34.1`, `1,234`. */
export function shortNumber(value: number): string {
  const size = Math.abs(value);
  if (size < 10) return `${Math.round(value * 100) / 100}`;
  if (size < 100) return `${Math.round(value * 10) / 10}`;
  return formatCount(Math.round(value));
}

const percent = (share: number): string => `${Math.round(share * 100)} %`;
const mebibytes = (bytes: number): string => shortNumber(bytes / 1024 ** 2);
const times = (ratio: number): string => `${ratio.toFixed(2)}×`;
const seconds = (ms: number): string => shortNumber(ms / 1000);

const PLACE = ["memory", "guest writes"];

function placeOf({ memory_mib, write_rate_pages_per_s }: ConfigurationFigures): string[] {
  return [memoryName(memory_mib), rateName(write_rate_pages_per_s)];
}

function runsOf({ as_expected, runs }: Group): string {
  return `${as_expected} of ${runs}`;
}

/** All figures of a bench as tables. */
export function tablesOf({ figures }: Pick<BenchResult, "figures">): readonly BenchTable[] {
  const devices = figures.some(({ stock, txsync }) =>
    [stock, txsync].some(({ spreads }) => spreads.disk_records_per_s !== undefined || spreads.net_p50_ms !== undefined),
  );
  return [
    recoveryTable(figures),
    pauseTable(figures),
    againstStockTable(figures),
    switchoverTable(figures),
    ...(devices ? [devicesTable(figures)] : []),
    agentsTable(figures),
    protectedTable(figures),
  ];
}

function protectedTable(figures: readonly ConfigurationFigures[]): BenchTable {
  return {
    title: "Protected where it runs",
    hint: "A VM that does not migrate. Guest steps: looked at for some seconds before it is protected, and while it is. Output held back: how long what the guest sends waits for its transaction. To the escrow: records that it has stored.",
    heading: [
      "epoch",
      ...PLACE,
      "as expected",
      "steps/s unprotected",
      "protected",
      "share",
      "pause p50, ms",
      "pause p99, ms",
      "output p50, ms",
      "output p99, ms",
      "to the escrow, MiB/s",
    ],
    rows: EPOCHS.flatMap((epoch) =>
      figures.flatMap((at) => {
        const group = at.protected[epoch];
        if (group === undefined) return [];
        const { spreads } = group;
        return [
          [
            epoch.replaceAll("-", " "),
            ...placeOf(at),
            runsOf(group),
            spreadCell(spreads.free_steps_per_s),
            spreadCell(spreads.protected_steps_per_s),
            spreadCell(spreads.protected_share, times),
            spreadCell(spreads.pause_p50_ms),
            spreadCell(spreads.pause_p99_ms),
            spreadCell(spreads.output_p50_ms),
            spreadCell(spreads.output_p99_ms),
            spreadCell(spreads.log_bytes_per_s, mebibytes),
          ],
        ];
      }),
    ),
  };
}

function recoveryTable(figures: readonly ConfigurationFigures[]): BenchTable {
  const cell = (group: Group, measure: Measure): string => spreadCell(group.spreads[measure]);
  return {
    title: "Recovery",
    hint: "Fault to detection: until an agent acts on it. Detection to running: until the restored guest runs; – where none had to be restored, the guest then only stood still for a while. Work lost: steps of the guest that were rolled back.",
    heading: [
      "scenario",
      ...PLACE,
      "as expected",
      "fault to detection, ms",
      "detection to running, ms",
      "longest stillness, ms",
      "work lost, steps",
    ],
    rows: RECOVERIES.flatMap((scenario) =>
      figures.flatMap((at) => {
        const group = at.recovery[scenario];
        if (group === undefined) return [];
        const measured = (["detect_ms", "recover_ms", "downtime_ms", "lost_steps"] as const).map((measure) =>
          cell(group, measure),
        );
        return [[scenario, ...placeOf(at), runsOf(group), ...measured]];
      }),
    ),
  };
}

/** The parts of a pause, in their order. */
export const PAUSE_PARTS = ["stop", "device", "find_copy", "cont"] as const;
export const PART_NAMES: Readonly<Record<(typeof PAUSE_PARTS)[number], string>> = {
  stop: "stop",
  device: "device",
  find_copy: "find + copy",
  cont: "cont",
};

function pauseTable(figures: readonly ConfigurationFigures[]): BenchTable {
  return {
    title: "Pause per transaction",
    hint: "How long the guest stood still, ms, p50 / p99 of each run, and the median of the runs; parts are percentiles of their own and need not add up. Of all: percentiles over every pause of every run.",
    heading: [
      ...PLACE,
      "as expected",
      "pause p50",
      "pause p99",
      ...PAUSE_PARTS.map((part) => `${PART_NAMES[part]} p50 / p99`),
      "of all p50 / p99 / max",
      "pauses",
    ],
    rows: figures.map((at) => {
      const { spreads } = at.txsync;
      const median = (measure: Measure): string => {
        const value = spreads[measure]?.median;
        return value === undefined ? "–" : shortNumber(value);
      };
      const { pooled } = at;
      return [
        ...placeOf(at),
        runsOf(at.txsync),
        spreadCell(spreads.pause_p50_ms),
        spreadCell(spreads.pause_p99_ms),
        ...PAUSE_PARTS.map((part) => `${median(`${part}_p50_ms`)} / ${median(`${part}_p99_ms`)}`),
        pooled === undefined ? "–" : [pooled.p50_ms, pooled.p99_ms, pooled.max_ms].map(shortNumber).join(" / "),
        pooled === undefined ? "–" : formatCount(pooled.pauses),
      ];
    }),
  };
}

function againstStockTable(figures: readonly ConfigurationFigures[]): BenchTable {
  return {
    title: "Against stock",
    hint: "The same migration without a fault under the same cap, in the same turn; stock as it is said above. A ratio is that of two runs of one turn; 1 is the same. On the wire: all that the hosts sent to one another.",
    heading: [
      ...PLACE,
      "as expected",
      "total, s",
      "stock",
      "ratio",
      "on the wire, MiB",
      "stock",
      "ratio",
      "guest steps/s",
      "stock",
      "ratio",
    ],
    rows: figures.map((at) => {
      const [ours, stock] = [at.txsync.spreads, at.stock.spreads];
      const { ratios } = at;
      return [
        ...placeOf(at),
        `${runsOf(at.txsync)}, ${runsOf(at.stock)}`,
        spreadCell(ours.total_ms, seconds),
        spreadCell(stock.total_ms, seconds),
        spreadCell(ratios.total, times),
        spreadCell(ours.wire_bytes, mebibytes),
        spreadCell(stock.wire_bytes, mebibytes),
        spreadCell(ratios.wire_bytes, times),
        spreadCell(ours.steps_per_s),
        spreadCell(stock.steps_per_s),
        spreadCell(ratios.steps_per_s, times),
      ];
    }),
  };
}

/** How many runs of both there were, and of each measure ours, stock's and their ratio. */
function besideStock(
  at: ConfigurationFigures,
  measures: readonly (keyof ConfigurationFigures["ratios"] & Measure)[],
): readonly string[] {
  return [
    `${runsOf(at.txsync)}, ${runsOf(at.stock)}`,
    ...measures.flatMap((measure) => [
      spreadCell(at.txsync.spreads[measure]),
      spreadCell(at.stock.spreads[measure]),
      spreadCell(at.ratios[measure], times),
    ]),
  ];
}

function switchoverTable(figures: readonly ConfigurationFigures[]): BenchTable {
  const measures = ["switchover_ms", "postcopy_ms"] as const;
  return {
    title: "Switchover and post-copy",
    hint: "In the same runs. Switchover: from STOP at the source to RESUME at the target, by QEMU's own stamps. Post-copy: from the target's running until the VM is whole there (stock: completed; txsync: handed off). Source needed: from switchover until its host may be lost. A ratio is that of two runs of one turn.",
    heading: [
      ...PLACE,
      "as expected",
      ...["switchover, ms", "post-copy, ms"].flatMap((what) => [what, "stock", "ratio"]),
      "source needed, ms",
    ],
    rows: figures.map((at) => [
      ...placeOf(at),
      ...besideStock(at, measures),
      spreadCell(at.txsync.spreads.source_needed_ms),
    ]),
  };
}

function devicesTable(figures: readonly ConfigurationFigures[]): BenchTable {
  const measures = ["disk_records_per_s", "net_p50_ms", "net_p99_ms"] as const;
  return {
    title: "Disks and network",
    hint: "While the guest is carried over. Disks: records of 4 KiB a second, one at a time on each disk, those of the file system with fsync. Network: how long a client outside waits for an answer; under txsync that is held back until its transaction is committed. A ratio is that of two runs of one turn.",
    heading: [
      ...PLACE,
      "as expected",
      ...["disk records/s", "answer p50, ms", "answer p99, ms"].flatMap((what) => [what, "stock", "ratio"]),
    ],
    rows: figures.map((at) => [...placeOf(at), ...besideStock(at, measures)]),
  };
}

function agentsTable(figures: readonly ConfigurationFigures[]): BenchTable {
  return {
    title: "Agents and output",
    hint: "Output held back: how long what the guest sends waits for its transaction. Processor: of the three agents and their helpers together, 100 % is one processor. Memory and lateness of the event loop: of the worst agent.",
    heading: [
      ...PLACE,
      "as expected",
      "output p50, ms",
      "output p99, ms",
      "processor",
      "memory, MiB",
      "late p99, ms",
      "late max, ms",
      "transactions",
    ],
    rows: figures.map((at) => {
      const { spreads } = at.txsync;
      return [
        ...placeOf(at),
        runsOf(at.txsync),
        spreadCell(spreads.output_p50_ms),
        spreadCell(spreads.output_p99_ms),
        spreadCell(spreads.agents_cpu_share, percent),
        spreadCell(spreads.agent_rss_max_mib),
        spreadCell(spreads.control_late_p99_ms),
        spreadCell(spreads.control_late_max_ms),
        spreadCell(spreads.transactions),
      ];
    }),
  };
}

/** What was measured, and on what, one line each. */
export function aboutLines(result: BenchResult): readonly string[] {
  const { machine, samples, planned, repeat } = result;
  const load = machine.load_before.map((value) => value.toFixed(2)).join(", ");
  return [
    `switchover by ${result.switchover_by}; stock beside it ${result.switchover_by === "agent" ? "makes one pass of pre-copy before it switches over" : "switches over at once"}`,
    `QEMU ${result.qemu_version}, ${[`${result.guest} guest`, ...result.vm].join(", ")}, ${result.accel} (${result.accel_why}), seed ${result.seed}, cap ${formatBytes(result.cap_bytes_per_s)}/s`,
    `${machine.processors} processors (${machine.processor}), ${formatBytes(machine.memory_bytes)}, kernel ${machine.kernel}, load before ${load}${machine.quiet ? "" : ": NOT QUIET"}`,
    `${samples.length} of ${planned} runs, ${repeat} of each, in turns; a cell is the median, and in brackets the least and the greatest`,
  ];
}
