import { arch, availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

/** Where a bench was run. */
export interface Machine {
  readonly processors: number;
  readonly processor: string;
  readonly memory_bytes: number;
  readonly kernel: string;
  readonly architecture: string;
  /** Load averages over 1, 5 and 15 minutes before anything was started. */
  readonly load_before: readonly [number, number, number];
  readonly quiet: boolean;
}

/** Above this share of its processors a machine is not quiet: a run keeps two of them busy by itself. */
const QUIET_SHARE = 0.25;

export function machineNow(): Machine {
  const processors = availableParallelism();
  const [one = 0, five = 0, fifteen = 0] = loadavg();
  return {
    processors,
    processor: cpus()[0]?.model ?? "unknown",
    memory_bytes: totalmem(),
    kernel: release(),
    architecture: arch(),
    load_before: [one, five, fifteen],
    quiet: isQuiet(one, processors),
  };
}

export function isQuiet(load: number, processors: number): boolean {
  return load <= QUIET_SHARE * processors;
}

/** One sentence for whoever starts a bench on a machine with other work, or undefined. */
export function notQuiet({ load_before: [load], processors, quiet }: Machine): string | undefined {
  if (quiet) return undefined;
  return `THIS MACHINE IS NOT QUIET: load average ${load.toFixed(2)} on ${processors} processors before anything was started. Times below are those of a busy machine; the ratios suffer less, since both sides are measured in turns.`;
}
