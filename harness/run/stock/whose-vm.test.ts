import { expect, it } from "vitest";
import { afterCancel, afterCompletion } from "./whose-vm.ts";

it("is the target's, though it is held still, or runs beside the source", () => {
  for (const source of [false, true]) expect(afterCompletion({ source, target: true }).owner).toBe("target");
  expect(afterCompletion({ source: false, target: false }).owner).toBe("target");
});

it("is the source's where that runs again and the target never did", () => {
  expect(afterCompletion({ source: true, target: false })).toEqual({
    owner: "source",
    how: expect.stringMatching(/run again/),
  });
});

it("is said to have been cancelled for its passes only where it was", () => {
  expect(afterCancel(50).how).toMatch(/no end in 50 passes/);
  expect(afterCancel(undefined).how).toBe("the migration was cancelled before switchover, the source runs on");
});
