import { readFileSync } from "node:fs";
import { join } from "node:path";
import { transformSync } from "esbuild";
import { describe, expect, it } from "vitest";
import { agentBundle } from "../fleet/images/agent.ts";
import { planted } from "./seed.ts";
import { SEEDS } from "./seeds.ts";

const ROOT = join(import.meta.dirname, "../..");

describe("bugs that are put into builds", () => {
  it("are many, and each has a name of its own", () => {
    expect(SEEDS.length).toBeGreaterThanOrEqual(40);
    expect(new Set(SEEDS.map(({ name }) => name)).size).toBe(SEEDS.length);
  });

  it.each(SEEDS.map((seed) => [seed.name, seed] as const))("has a place in the code as it is: %s", (_, seed) => {
    const source = readFileSync(join(ROOT, seed.file), "utf8");
    const broken = planted(seed, source);
    expect(broken).not.toBe(source);
    // It is a bug, and not a file that nobody can read.
    expect(() => transformSync(broken, { loader: "ts" })).not.toThrow();
  });

  it("are not in what ships, nor anything that could put them there", async () => {
    const bundle = (await agentBundle()) ?? "";
    expect(bundle.length).toBeGreaterThan(100_000);
    for (const { name } of SEEDS) expect(bundle.includes(`"${name}"`), name).toBe(false);
    expect(bundle).not.toContain("FERRYMAN_SEED");
  });

  it("says when the code has moved on under a seed", () => {
    const seed = { name: "gone", what: "", file: "a.ts", is: "x", becomes: "y", by: "core" } as const;
    expect(() => planted(seed, "a")).toThrow("stands 0 times");
    expect(() => planted(seed, "x x")).toThrow("stands 2 times");
    expect(planted(seed, "a x b")).toBe("a y b");
  });
});
