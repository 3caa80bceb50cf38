import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fewLines } from "./few-lines.ts";

function said(lines: number, most: number): readonly string[] {
  const out: string[] = [];
  const say = fewLines((line) => out.push(line), most);
  for (let i = 1; i <= lines; i += 1) say(`line ${i}`);
  return out;
}

describe("lines that are said ever more seldom", () => {
  it("are all said while they are few", () => {
    expect(said(3, 3)).toEqual(["line 1", "line 2", "line 3"]);
  });

  it("say how many were left out", () => {
    expect(said(13, 3).slice(3)).toEqual(["(2 lines left out) line 6", "(5 lines left out) line 12"]);
  });

  it("are few, however many there are, and every one is said or counted", () => {
    fc.assert(
      fc.property(fc.nat(20_000), fc.integer({ min: 1, max: 50 }), (lines, most) => {
        const out = said(lines, most);
        expect(out.length).toBeLessThanOrEqual(most + Math.log2(Math.max(1, lines / most)) + 1);
        const counted = out.reduce((sum, line) => sum + 1 + Number(/^\((\d+) lines/.exec(line)?.[1] ?? 0), 0);
        expect(counted).toBeLessThanOrEqual(lines);
        expect(2 * counted).toBeGreaterThanOrEqual(lines);
      }),
    );
  });
});
