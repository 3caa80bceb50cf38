import { defineConfig } from "vitest/config";

/**
 * Two projects: `unit` is pure code and needs no engine; `real` runs on containers, QEMU and Toxiproxy.
 * A test of the real project is named `*.real.test.ts`. Real tests run one file at a time: they share two cores.
 */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{harness,scenarios,reports,fixtures}/**/*.test.ts"],
          exclude: ["**/*.real.test.ts", "**/node_modules/**"],
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
    ],
  },
});
