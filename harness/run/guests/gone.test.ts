import { expect, it } from "vitest";
import { refuseGone } from "./gone.ts";

it("is content with a QEMU that runs", async () => {
  await refuseGone({ process: { gone: false, lastLines: () => [] } });
});

it("waits for the last words of one that has ended, which come later than its end is seen", async () => {
  let looks = 0;
  const lastLines = (): readonly string[] => (++looks < 3 ? [] : ["Assertion failed"]);
  await expect(refuseGone({ process: { gone: true, lastLines } })).rejects.toThrow(/had booted: Assertion failed$/);
});

it("says that nothing was said", async () => {
  await expect(refuseGone({ process: { gone: true, lastLines: () => [] } })).rejects.toThrow(/it said nothing/);
});
