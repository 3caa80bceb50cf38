import { describe, expect, it } from "vitest";
import { check } from "./run.ts";
import { seedOf } from "./seeds.ts";

/** One of each kind, that is found at once; `npm run seeds` goes through all of them. */
describe("a bug that is put into a build", () => {
  it.each(["gate-beyond-mark", "mac-not-compared"])("is found: %s", async (name) => {
    const findings = await check(seedOf(name));
    expect(findings.length).toBeGreaterThan(0);
    for (const { by, what } of findings) {
      console.log(`${name}, by ${by}: ${what}`);
      expect(what, by).not.toBeNull();
    }
  });
});
