import { defineConfig } from "vitest/config";

/**
 * Three projects: `unit` is pure code and needs no engine; `real` runs on containers, QEMU and Toxiproxy; `large` does so
 * with guests of gigabytes, and is in no `npm test`. Tests of the last two are named `*.real.test.ts` and `*.large.test.ts`.
 * They run one file at a time: they share two cores.
 */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{harness,scenarios,reports,fixtures}/**/*.test.ts"],
          exclude: ["**/*.real.test.ts", "**/*.large.test.ts", "**/node_modules/**"],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "real",
          include: ["{harness,scenarios,reports,fixtures}/**/*.real.test.ts"],
          exclude: ["**/node_modules/**"],
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "large",
          include: ["{harness,scenarios,reports,fixtures}/**/*.large.test.ts"],
          exclude: ["**/node_modules/**"],
          fileParallelism: false,
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
