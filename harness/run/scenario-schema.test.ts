import { describe, expect, it } from "vitest";
import { EVERY_SCENARIO } from "../../scenarios/index.ts";
import { checkScenario } from "./scenario-schema.ts";

const GOOD = {
  id: "my-cut",
  group: "mine",
  title: "the link is cut",
  guests: ["integrity"],
  migration: { switchover: "at-once", bandwidth_bytes_per_s: 1_000_000 },
  faults: [
    {
      fault: { fault: "cut-silent", link: "source-target", direction: "both" },
      at: { on: "pages", percent: 30 },
      heal: { on: "fault", index: 0, after_ms: 200 },
    },
  ],
  expect: { txsync: "intact" },
};
const [FAULT] = GOOD.faults;

describe("a scenario from outside", () => {
  it("is what it was, and every one of ours passes", () => {
    expect(checkScenario(GOOD, "x")).toBe(GOOD);
    for (const scenario of EVERY_SCENARIO) expect(checkScenario(scenario, scenario.id)).toBe(scenario);
  });

  it.each<[string, object, RegExp]>([
    ["an id that names no folder", { id: "My cut!" }, /^x is no scenario: id: lower-case words/],
    ["no guest", { guests: [] }, /x is no scenario: guests: /],
    ["a fault that nobody knows", { faults: [{ ...FAULT, fault: { fault: "melt" } }] }, /faults\.0\.fault/],
    [
      "a setting that a fault has not",
      { faults: [{ ...FAULT, fault: { fault: "kill-host", host: "target", hard: true } }] },
      /faults\.0\.fault: .*hard/,
    ],
    ["more than all pages", { faults: [{ ...FAULT, at: { on: "pages", percent: 120 } }] }, /faults\.0\.at\.percent: /],
    ["a step that never comes", { faults: [{ ...FAULT, at: { on: "step", step: "lunch" } }] }, /faults\.0\.at\.step: /],
    [
      "a host for what no agent tells",
      { faults: [{ ...FAULT, at: { on: "step", step: "switchover", by: "source" } }] },
      /faults\.0\.at: no agent tells/,
    ],
    ["a fault that is not there", { faults: [{ ...FAULT, at: { on: "fault", index: 3 } }] }, /no fault 3/],
    ["a fault that waits for itself", { faults: [{ ...FAULT, at: { on: "fault", index: 0 } }] }, /wait for itself/],
    [
      "what nobody heals",
      {
        faults: [
          { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 1 } },
          { fault: { fault: "kill-host", host: "source" }, at: { on: "pages", percent: 1 } },
        ],
      },
      /faults\.0\.at\.index: fault 1 is not to be healed/,
    ],
    ["no expectation", { expect: {} }, /expect: what ought to come out/],
    ["an unknown limit", { limits: [{ of: "beauty", most: 3 }] }, /limits\.0\.of: /],
    [
      "a verdict for no version",
      { expect_on: [{ under: "stock", verdict: "lost", why: "so" }] },
      /expect_on\.0: with which versions/,
    ],
    [
      "a full disk without a bound",
      { faults: [{ ...FAULT, fault: { fault: "fill", host: "escrow", what: "disk" } }] },
      /faults\.0\.fault: a disk is the machine's too/,
    ],
  ])("with %s is refused, and the place in it is named", (_, change, why) => {
    expect(() => checkScenario({ ...GOOD, ...change }, "x")).toThrow(why);
  });
});
