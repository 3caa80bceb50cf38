import { expect, it } from "vitest";
import { isStorageTrouble, WriteAgain } from "./storage-trouble.ts";

it("has a write that failed tried again ever more seldom, once a second at least", () => {
  const again = new WriteAgain();
  expect(Array.from({ length: 8 }, () => again.failed())).toEqual([25, 50, 100, 200, 400, 800, 1_000, 1_000]);
});

it("is what a file system says of itself, and no mistake of the agent's", () => {
  expect(isStorageTrouble(Object.assign(new Error("full"), { code: "ENOSPC" }))).toBe(true);
  expect(isStorageTrouble(Object.assign(new Error("nowhere"), { code: "ENOENT" }))).toBe(false);
  expect(isStorageTrouble(new Error("ENOSPC"))).toBe(false);
});
