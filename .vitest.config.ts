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
          // Else one processor is left free, of two.
          maxWorkers: "100%",
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "real",
          include: ["{harness,scenarios,reports,fixtures}/**/*.real.test.ts"],
          exclude: ["**/node_modules/**"],
          fileParallelism: false,
          // Of the tests that may go on side by side (a scenario each): one carries its VM while the next one's hosts start.
          maxConcurrency: 2,
          // What comes out differently the second time is no success.
          retry: 0,
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
          maxConcurrency: 2,
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
