import type { CheckResult } from "../base/run-record.ts";
import type { LeftoverFindings } from "./evidence.ts";

/** After the run no container and no network of it is there any more. Judged after everything was taken down. */
export function nothingLeft({ containers, networks }: LeftoverFindings): CheckResult {
  const left = [...containers, ...networks];
  return left.length === 0
    ? { check: "nothing-left", verdict: true, summary: "no container, network or volume of the run is left" }
    : { check: "nothing-left", verdict: false, summary: `left over: ${left.join(", ")}`, evidence: left };
}
