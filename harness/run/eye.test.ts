import { describe, expect, it } from "vitest";
import { reading, type Seen } from "./eye.ts";
import type { GuestClock } from "./guests/guest.ts";

const clock: GuestClock = {
  offset_bytes: 0,
  bytes: 2,
  read: (bytes) => (bytes[0] === 0 ? undefined : { step: bytes[0] ?? 0, ran_ms: bytes[1] ?? 0 }),
};

describe("what an eye on a guest tells", () => {
  it("is seen when it was looked, also where nothing is new, or nothing is there", () => {
    const seen: [number, Seen][] = [];
    const read = reading(clock, (at_ms, what) => void seen.push([at_ms, what]));
    for (const line of ["1500 -", "2000 0107", "2500 =", "3000 0000", "3500 0209", "4000 -", "4500 ="]) read(line);
    // A torn line, and one that is somebody else's.
    for (const line of ["", "45", "4500 zz", "sh: no such program"]) read(line);
    expect(seen).toEqual([
      [1.5, undefined],
      [2, { step: 1, ran_ms: 7 }],
      [2.5, { step: 1, ran_ms: 7 }],
      [3, undefined],
      [3.5, { step: 2, ran_ms: 9 }],
      [4, undefined],
      [4.5, undefined],
    ]);
  });
});
