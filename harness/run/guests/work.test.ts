import { describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { makeGuest } from "./index.ts";
import { checkWork, type GuestWork, reachableBytes } from "./work.ts";

const MIB = 1024 ** 2;

describe("the guests' work", () => {
  it("is refused with its range where a guest cannot do it", () => {
    const refused: readonly [GuestWork, RegExp][] = [
      [{ write_rate_pages_per_s: 1_000_001 }, /0 to 1000000 pages per second, not 1000001/],
      [{ write_rate_pages_per_s: -1 }, /0 to 1000000/],
      [{ working_set_bytes: 0 }, /1 to 120 MiB where it has 128 MiB of memory, not 0/],
      [{ working_set_bytes: 121 * MIB }, /1 to 120 MiB/],
      [{ working_set_bytes: MIB + 1 }, /1 to 120 MiB/],
    ];
    for (const [work, why] of refused) {
      expect(() => checkWork("integrity", 128 * MIB, work)).toThrow(UserError);
      expect(() => checkWork("integrity", 128 * MIB, work)).toThrow(why);
    }
    checkWork("integrity", 128 * MIB, { write_rate_pages_per_s: 0, working_set_bytes: 120 * MIB });
    expect(() => checkWork("integrity", 128 * MIB, { chatter_lines_per_s: 1_001 })).toThrow(
      /0 to 1000 lines per second/,
    );
    expect(() => checkWork("linux", 128 * MIB, { chatter_lines_per_s: 1 })).toThrow(/leave --chatter away/);
    // A rate of 0 would be a Linux guest that does nothing.
    expect(() => checkWork("linux", 128 * MIB, { write_rate_pages_per_s: 0 })).toThrow(
      /linux guest's write rate is 1 to/,
    );
    expect(() => checkWork("linux", 128 * MIB, { working_set_bytes: 33 * MIB })).toThrow(/1 to 32 MiB/);
    checkWork("linux", 128 * MIB, { write_rate_pages_per_s: 5_000, working_set_bytes: 32 * MIB });
  });

  it("knows how much of a large memory 32 bits reach on q35", () => {
    expect([128, 2_815, 2_816, 4_096, 8_192].map((mib) => reachableBytes(mib * MIB) / MIB)).toEqual([
      128, 2_815, 2_048, 2_048, 2_048,
    ]);
  });

  it("stands on the guest's command line", () => {
    const work = { write_rate_pages_per_s: 20_000, working_set_bytes: 64 * MIB };
    const common = { seed: 7, memory_bytes: 256 * MIB, emit: () => undefined } as const;
    expect(makeGuest("integrity", { ...common, accel: "tcg", work }).files.append).toBe(
      "seed=7 rate=20000 set=64 fill=full",
    );
    expect(makeGuest("integrity", { ...common, accel: "kvm" }).files.append).toBe("seed=7 rate=1000 fill=head");
    const linux = makeGuest("linux", { ...common, accel: "tcg", work }).files.append;
    expect(linux).toContain("ferryman.rate=20000 ferryman.set=64 ");
  });
});
