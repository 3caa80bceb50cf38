import { describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import type { OwnGuestInRun } from "../run/guests/guest.ts";
import { PURE_POSTCOPY } from "../run/scenario.ts";
import { defineScenario, type ScenarioOfYours } from "./define.ts";

const CUT: ScenarioOfYours = {
  id: "my-cut",
  title: "the link is cut for 200 ms at 40 %",
  migration: PURE_POSTCOPY,
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "pages", percent: 40 },
      heal: { on: "fault", index: 0, after_ms: 200 },
    },
  ],
  expect: { txsync: "intact" },
};
const broken = (change: object): ScenarioOfYours => ({ ...CUT, ...change }) as ScenarioOfYours;

describe("a scenario of one's own", () => {
  it("is what was said, with a guest whose memory can be told", () => {
    expect(defineScenario(CUT)).toEqual({ ...CUT, group: "yours", guests: ["integrity"] });
    expect(defineScenario({ ...CUT, guests: ["linux"], group: "network" }).guests).toEqual(["linux"]);
  });

  it("takes faults and guests that are objects, as they are, from a class too", () => {
    class Mine {
      readonly fault = "my-own";
      readonly on = "source";
      async inject(): Promise<void> {}
    }
    const guest = { kind: "my-own", start: () => ({}) as OwnGuestInRun };
    const plan = { fault: new Mine(), at: { on: "pages", percent: 40 } } as const;
    const scenario = defineScenario({ ...CUT, guests: [guest], faults: [plan] });
    expect(scenario.faults[0]?.fault).toBe(plan.fault);
    expect(scenario.guests[0]).toBe(guest);
  });

  it("is refused with the first place in it that is wrong", () => {
    const [plan] = CUT.faults;
    const cases: readonly (readonly [object, RegExp])[] = [
      [{ id: "My cut" }, /^scenario My cut.*id.*lower-case words/s],
      [{ title: "" }, /title/],
      [{ faults: [{ ...plan, at: { on: "pages", percent: 140 } }] }, /faults.*0.*at.*percent/s],
      [{ faults: [{ ...plan, fault: { fault: "meteor" } }] }, /faults.*0.*fault/s],
      [{ faults: [{ ...plan, heal: { on: "fault", index: 3 } }] }, /faults.*0.*heal.*index.*there is no fault 3/s],
      [{ expect: {} }, /expect.*what ought to come out/s],
      [{ fautls: [] }, /fautls/],
      [{ migration: { bandwidth_bytes_per_s: 1 } }, /migration\.switchover/],
      [{ txsync: { lease_ms: 1 } }, /txsync\.lease_ms/],
      [{ work: { write_rate_pages_per_s: -1 } }, /work\.write_rate_pages_per_s/],
      [{ configuration: { vcpus: 0 } }, /configuration\.vcpus/],
      [{ guests: ["dog"] }, /guests\.0.*there is no guest dog: integrity, linux, custom, or an object/],
      [{ guests: [{ kind: "mine" }] }, /guests\.0\.start.*a function is needed/],
      [{ guests: [{ kind: "linux", start: () => ({}) }] }, /guests\.0\.kind.*one of ours/],
      [
        { faults: [{ ...plan, fault: { fault: "my-own", on: "source", inject: 1 } }] },
        /faults\.0\.fault\.inject.*a function/,
      ],
      [
        { faults: [{ ...plan, fault: { fault: "fill", on: "x", inject: async () => undefined } }] },
        /faults\.0\.fault\.fault.*my-/,
      ],
      [{ faults: [{ ...plan, fault: { fault: "my-own", inject: async () => undefined } }] }, /faults\.0\.fault\.on/],
      [{ expect: { txsync: "fine" } }, /expect.*txsync/s],
    ];
    for (const [change, message] of cases) {
      expect(() => defineScenario(broken(change))).toThrow(UserError);
      expect(() => defineScenario(broken(change))).toThrow(message);
    }
  });
});
