import { expect, it } from "vitest";
import { matrixText } from "./matrix-text.ts";

it("shows faults by steps in the order of the steps, the worst run of a place, and what was not run", () => {
  const place = (fault: string, step: string, order: number) => ({ fault, step, order });
  const text = matrixText([
    { ...place("kill-host on target", "handoff", 30), run: { verdict: "intact", as_expected: true } },
    { ...place("kill-host on target", "setup", 0), run: { verdict: "intact", as_expected: true } },
    { ...place("kill-host on target", "setup", 0), run: { verdict: "lost", as_expected: false } },
    place("cut", "setup", 0),
  ]);
  expect(text.split("\n").slice(0, 3)).toEqual([
    "fault                 1   2",
    "kill-host on target  l!   i",
    "cut                   ·",
  ]);
  expect(text).toContain("steps: 1 setup, 2 handoff");
  expect(text).toContain("3 of 4 run: 2 intact, 1 lost; 1 not as the model says, 0 proved nothing");
});
