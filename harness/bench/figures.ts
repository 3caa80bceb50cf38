import type { Recovery } from "../base/run-record.ts";
import type { Measure, Measures } from "./measure.ts";
import { type Configuration, EPOCHS, NO_FAULT, PROTECTED, RECOVERIES } from "./plan.ts";
import type { ConfigurationFigures, Group, Pooled, Ratios, Sample } from "./result.ts";
import { quantileOf, ratiosOf, type Spread, spreadOf } from "./spread.ts";

/** What the samples of a bench say, by configuration. */
export function figuresOf(
  configurations: readonly Configuration[],
  samples: readonly Sample[],
): readonly ConfigurationFigures[] {
  return configurations.map(({ memory_mib, write_rate_pages_per_s }) => {
    const here = samples.filter(
      (sample) => sample.memory_mib === memory_mib && sample.write_rate_pages_per_s === write_rate_pages_per_s,
    );
    const of = (scenario: string, recovery: Recovery): readonly Sample[] =>
      here.filter((sample) => sample.scenario === scenario && sample.recovery === recovery);
    const stock = of(NO_FAULT, "stock");
    const txsync = of(NO_FAULT, "txsync");
    const stays = of(PROTECTED, "txsync");
    const pooled = pooledOf(txsync);
    return {
      memory_mib,
      write_rate_pages_per_s,
      stock: groupOf("stock", stock),
      txsync: groupOf("txsync", txsync),
      ratios: ratiosBetween(txsync, stock),
      ...(pooled === undefined ? {} : { pooled }),
      recovery: groups(RECOVERIES, (scenario) => of(scenario, "txsync")),
      protected: groups(EPOCHS, (epoch) => stays.filter(({ variant }) => variant === epoch)),
    };
  });
}

/** Of those that were run at all. */
function groups(names: readonly string[], of: (name: string) => readonly Sample[]): Readonly<Record<string, Group>> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const samples = of(name);
      return samples.length === 0 ? [] : [[name, groupOf("txsync", samples)]];
    }),
  );
}

function groupOf(recovery: Recovery, samples: readonly Sample[]): Group {
  const good = samples.filter(({ as_expected }) => as_expected);
  const names = new Set(good.flatMap(({ measures }) => Object.keys(measures) as Measure[]));
  const spreads: { -readonly [M in keyof Measures]: Spread } = {};
  for (const name of names) {
    const spread = spreadOf(good.flatMap(({ measures }) => measures[name] ?? []));
    if (spread !== undefined) spreads[name] = spread;
  }
  return { recovery, runs: samples.length, as_expected: good.length, spreads };
}

/** Each run with that of its own turn: what drifts between turns drops out. */
function ratiosBetween(txsync: readonly Sample[], stock: readonly Sample[]): Ratios {
  const partner = new Map(stock.flatMap((sample) => (sample.as_expected ? [[sample.turn, sample]] : [])));
  const of = (name: Measure): Spread | undefined =>
    spreadOf(
      ratiosOf(
        txsync.flatMap((sample) =>
          sample.as_expected ? [[sample.measures[name], partner.get(sample.turn)?.measures[name]] as const] : [],
        ),
      ),
    );
  const ratios: { readonly [Name in keyof Ratios]-?: Spread | undefined } = {
    total: of("total_ms"),
    wire_bytes: of("wire_bytes"),
    switchover_ms: of("switchover_ms"),
    postcopy_ms: of("postcopy_ms"),
    steps_per_s: of("steps_per_s"),
    disk_records_per_s: of("disk_records_per_s"),
    net_p50_ms: of("net_p50_ms"),
    net_p99_ms: of("net_p99_ms"),
  };
  return Object.fromEntries(Object.entries(ratios).filter(([, spread]) => spread !== undefined));
}

function pooledOf(samples: readonly Sample[]): Pooled | undefined {
  const still = samples.flatMap(({ as_expected, pauses }) =>
    as_expected ? pauses.map(({ still_ms }) => still_ms) : [],
  );
  const [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1].map((share) => quantileOf(still, share));
  if (p50_ms === undefined || p99_ms === undefined || max_ms === undefined) return undefined;
  return { pauses: still.length, p50_ms, p99_ms, max_ms };
}

/** A median of fewer says nothing. */
export const RUNS_NEEDED = 5;

/** What a reader has to know before believing a figure, made from the samples alone. */
export function notesOf(samples: readonly Sample[], planned: number): readonly string[] {
  const notes: string[] = [];
  const failed = samples.filter(({ as_expected }) => !as_expected);
  if (failed.length > 0) {
    const names = [
      ...new Set(failed.map(({ scenario, recovery, variant = "" }) => `${scenario} ${recovery} ${variant}`.trim())),
    ].join(", ");
    notes.push(
      `${failed.length} of ${samples.length} runs did not come out as expected (${names}): no figure is made of them.`,
    );
  }
  if (samples.length < planned)
    notes.push(`Only ${samples.length} of ${planned} runs were made: the bench was interrupted.`);
  const turns = new Set(samples.map(({ turn }) => turn)).size;
  if (turns < RUNS_NEEDED)
    notes.push(
      `${turns === 1 ? "One run" : `${turns} runs`} of each: too few for figures, of which a median takes at least ${RUNS_NEEDED}.`,
    );
  const pauses = samples.flatMap((sample) => sample.pauses);
  const unstamped = pauses.filter(({ stamped }) => !stamped).length;
  if (unstamped > 0)
    notes.push(
      `${unstamped === pauses.length ? "All" : `${unstamped} of ${pauses.length}`} pauses are as the agent saw them (pause_ms), not by QEMU's stamps (still_ms): they are longer by what the answer to cont was late.`,
    );
  return notes;
}
