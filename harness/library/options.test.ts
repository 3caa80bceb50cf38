import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { CHECKS } from "../checks/index.ts";
import { ferrymanSchema, playSchema, refuseBad } from "./options.ts";

const refused = (schema: Parameters<typeof refuseBad>[0], value: unknown): string => {
  try {
    refuseBad(schema, value, "here");
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as UserError).message;
  }
  return "";
};

describe("options", () => {
  it("are taken as they ought to be", () => {
    expect(refused(ferrymanSchema, {})).toBe("");
    expect(refused(ferrymanSchema, { qemu: "10.0", runs: "./runs", accel: "tcg", memory_mib: 64 })).toBe("");
    expect(refused(playSchema, { recovery: "stock", manager: "libvirt:resume" })).toBe("");
    const own = { kind: "mine", start: () => ({}) };
    expect(refused(playSchema, { recovery: "stock", guest: own, checks: CHECKS, txsync: { lease_ms: 500 } })).toBe("");
  });

  it("are refused with the first place in them that is wrong", () => {
    const check = { name: "mine", false_means: "corrupt", applies: () => true, judge: () => undefined };
    const cases: readonly (readonly [Parameters<typeof refuseBad>[0], object, RegExp])[] = [
      [ferrymanSchema, { qmeu: "10.0" }, /^here: .*qmeu/],
      [ferrymanSchema, { memory_mib: 1 }, /^here: memory_mib: /],
      [playSchema, { recovery: "hope" }, /^here: recovery: /],
      [playSchema, { manager: "kubevirt" }, /^here: manager: /],
      [playSchema, { seed: -1 }, /^here: seed: /],
      [playSchema, { txsync: { epoch_ms: "fast" } }, /^here: txsync\.epoch_ms: /],
      [playSchema, { guest: "dog" }, /^here: guest: there is no guest dog/],
      [playSchema, { checks: [{ ...check, judge: true }] }, /^here: checks\.0\.judge: a function is needed/],
      [playSchema, { checks: [{ ...check, false_means: "sad" }] }, /^here: checks\.0\.false_means: /],
      [playSchema, { checks: [...CHECKS, { ...check, name: "ledger" }] }, /ledger already/],
      [playSchema, { checks: [{ ...check, needs: [{ name: "x" }] }] }, /^here: checks\.0\.needs\.0\.stage: /],
    ];
    for (const [schema, value, message] of cases) expect(refused(schema, value)).toMatch(message);
  });
});
