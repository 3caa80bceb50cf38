import type { CheckResult } from "../base/run-record.ts";
import { judged } from "./check.ts";
import type { Gathered, LeftoverFindings } from "./evidence.ts";

/** After the run no container and no network of it is there any more. Judged after everything was taken down. */
export function nothingLeft(gathered: Gathered<LeftoverFindings>): CheckResult {
  const judgement = judged(gathered, ({ containers, networks }) => {
    const left = [...containers, ...networks];
    return left.length === 0
      ? { verdict: true, summary: "no container, network or volume of the run is left" }
      : { verdict: false, summary: `left over: ${left.join(", ")}`, evidence: left };
  });
  return { check: "nothing-left", ...judgement };
}
