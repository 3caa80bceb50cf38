import type { Verdict } from "../base/timeline.ts";

export interface Placed {
  readonly fault: string;
  readonly step: string;
  readonly order: number;
  /** Absent: not run. */
  readonly run?: { readonly verdict: Verdict; readonly as_expected: boolean };
}

const SIGNS: Readonly<Record<Verdict, string>> = {
  intact: "i",
  lost: "l",
  rollback: "r",
  corrupt: "c",
  "split-brain": "s",
  unknown: "?",
};

/**
 * Faults × steps with a letter for each verdict, for a terminal: steps have numbers, told below. Where several runs are of
 * one place the worst is shown, and one that was not as expected has a mark.
 */
export function matrixText(placed: readonly Placed[]): string {
  const orders = new Map(placed.map(({ step, order }) => [step, order]));
  const steps = [...orders.keys()].sort((a, b) => (orders.get(a) ?? 0) - (orders.get(b) ?? 0));
  const rows = [...Map.groupBy(placed, ({ fault }) => fault)];
  const width = Math.max(...rows.map(([fault]) => fault.length), 5);
  const heading = ["fault".padEnd(width), ...steps.map((_, n) => String(n + 1).padStart(3))].join(" ");
  const lines = rows.map(([fault, of]) => {
    const at = Map.groupBy(of, ({ step }) => step);
    return [fault.padEnd(width), ...steps.map((step) => signOf(at.get(step)).padStart(3))].join(" ").trimEnd();
  });
  const names = steps.map((step, n) => `${n + 1} ${step}`).join(", ");
  const legend =
    "i intact, l lost, r rollback, c corrupt, s split-brain, ? proved nothing, · not run; ! not as expected";
  return [heading, ...lines, "", `steps: ${names}`, legend, countsText(placed)].join("\n");
}

function signOf(placed: readonly Placed[] | undefined): string {
  if (placed === undefined) return "";
  const runs = placed.flatMap(({ run }) => run ?? []);
  const worst =
    runs.find(({ as_expected }) => !as_expected) ?? runs.find(({ verdict }) => verdict !== "intact") ?? runs[0];
  if (worst === undefined) return "·";
  return `${SIGNS[worst.verdict]}${worst.as_expected ? "" : "!"}`;
}

function countsText(placed: readonly Placed[]): string {
  const runs = placed.flatMap(({ run }) => run ?? []);
  const counts = [...Map.groupBy(runs, ({ verdict }) => verdict)]
    .sort(([, a], [, b]) => b.length - a.length)
    .map(([verdict, same]) => `${same.length} ${verdict}`);
  const red = runs.filter(({ as_expected, verdict }) => !as_expected && verdict !== "unknown").length;
  const nothing = runs.filter(({ verdict }) => verdict === "unknown").length;
  return `${runs.length} of ${placed.length} run: ${counts.join(", ")}; ${red} not as the model says, ${nothing} proved nothing`;
}
