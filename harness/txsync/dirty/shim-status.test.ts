import { expect, test } from "vitest";
import { readOwnDescriptor, readShimStatus } from "./shim-status.ts";

const BEGUN = "api 9 wp 0\nregister 9 7f0000000000 1000 wp 0\nunregister 9 7f0000000000 1000\napi 12 wp 0\n";
const GUEST = "register 12 7f1000000000 8000000 wp 0\nregister 12 7f2000000000 40000 wp 0\n";

test("all ranges protected: the kernel tracks", () => {
  expect(readShimStatus(BEGUN + GUEST)).toEqual({
    tracking: true,
    ranges: [
      { start: 0x7f1000000000n, bytes: 0x8000000 },
      { start: 0x7f2000000000n, bytes: 0x40000 },
    ],
  });
});

test("whatever is missing is said", () => {
  const why = (text: string | undefined) => {
    const status = readShimStatus(text);
    return status.tracking ? "tracking" : status.why;
  };
  expect(why(undefined)).toMatch(/without the preloaded library/);
  expect(why(BEGUN)).toMatch(/registered no memory/);
  expect(why("api 9 plain 22\n")).toMatch(/error 22.*Linux 6\.7/);
  expect(why(`${BEGUN}${GUEST}register 12 7f3000000000 1000 plain 22\n`)).toMatch(/1 of 3 ranges \(error 22\)/);
  const ended = "unregister 12 7f1000000000 8000000\nunregister 12 7f2000000000 40000\n";
  expect(why(BEGUN + GUEST + ended)).toMatch(/none any more/);
});

test("the descriptor that is there for us is the one of that process, and not one of QEMU's", () => {
  const own = "own 41 900 0\nown 42 -1 1\n";
  expect(readOwnDescriptor(own + BEGUN + GUEST, 41)).toBe(900);
  expect(readOwnDescriptor(own, 42)).toMatch(/error 1.*Linux 6\.7/);
  expect(readOwnDescriptor(own, 43)).toMatch(/without the preloaded library/);
  expect(readOwnDescriptor(undefined, 41)).toMatch(/without the preloaded library/);
  expect(readShimStatus(own + BEGUN + GUEST)).toMatchObject({ tracking: true, ranges: { length: 2 } });
});
