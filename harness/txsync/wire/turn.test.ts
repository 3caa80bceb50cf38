import { expect, it } from "vitest";
import { READ_BYTES, Turn } from "./turn.ts";

it("is over, once, when so much was taken, and begins anew", () => {
  const turn = new Turn();
  for (let round = 0; round < 2; round += 1) {
    expect([1, 2, 3].map(() => turn.took(READ_BYTES))).toEqual([false, true, false]);
    turn.begin();
  }
  expect(turn.took(1)).toBe(false);
});
