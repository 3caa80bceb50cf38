import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { planted } from "./harness/seeds/seed.ts";
import { seedOf } from "./harness/seeds/seeds.ts";

/** Unit tests of a system with one bug in it, whose name is in FERRYMAN_SEED: for `npm run seeds`. */
const seed = seedOf(process.env["FERRYMAN_SEED"] ?? "");
const path = join(import.meta.dirname, seed.file);

export default defineConfig({
  root: import.meta.dirname,
  plugins: [
    {
      name: "seed",
      enforce: "pre",
      transform: (code: string, id: string) => (id.split("?")[0] === path ? planted(seed, code) : undefined),
    },
  ],
  test: {
    name: "unit",
    include: ["harness/**/*.test.ts"],
    exclude: ["**/*.real.test.ts", "**/*.large.test.ts", "**/node_modules/**"],
    // What was transformed with one bug in it must not be taken for what has another, or none.
    fsModuleCache: false,
    testTimeout: 120_000,
    bail: 3,
  },
});
