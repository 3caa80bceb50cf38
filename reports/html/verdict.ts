import type { Verdict } from "../../harness/base/timeline.ts";
import type { Tone } from "../model/lanes.ts";

/** A sign for every tone, so that none is told by colour alone. */
export const SYMBOLS: Readonly<Record<Tone, string>> = { neutral: "·", info: "●", good: "✓", warn: "▲", bad: "✕" };

export interface Badge {
  readonly word: Verdict;
  readonly symbol: string;
  readonly tone: Tone;
}

/** How a verdict looks. It says what came of the VM; whether that was expected is said beside it. */
export function verdictBadge(verdict: Verdict): Badge {
  switch (verdict) {
    case "intact":
      return { word: verdict, symbol: "✓", tone: "good" };
    case "lost":
      return { word: verdict, symbol: "✕", tone: "bad" };
    case "rollback":
      return { word: verdict, symbol: "↶", tone: "bad" };
    case "corrupt":
      return { word: verdict, symbol: "≠", tone: "bad" };
    case "split-brain":
      return { word: verdict, symbol: "⑂", tone: "bad" };
    case "unknown":
      return { word: verdict, symbol: "?", tone: "warn" };
  }
}
