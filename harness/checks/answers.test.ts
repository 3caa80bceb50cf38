import { describe, expect, it } from "vitest";
import { answers } from "./answers.ts";
import { runCheck } from "./check.ts";
import { at, makeCase } from "./testing/make-case.ts";

const asked = (answer: "in-time" | "never" | "either", came?: boolean) => {
  const faults = [{ id: "fault-0", name: "fault 0", asks: { what: "stop on target", answer } }];
  const body = { kind: "qmp.answer", id: "fault-0", command: "stop", answer_ms: 12.4 } as const;
  const events = came === undefined ? [] : [at(1, "target", { ...body, answered: came })];
  return runCheck(answers, makeCase({ faults, events }));
};

describe("answers of monitors", () => {
  it("are judged by what the fault says of them", () => {
    const verdicts = (["in-time", "never", "either"] as const).map((answer) =>
      [true, false].map((came) => asked(answer, came)?.verdict),
    );
    expect(verdicts).toEqual([
      [true, false],
      [false, true],
      [true, true],
    ]);
    expect(asked("in-time", true)?.summary).toBe("stop on target was answered after 12 ms");
  });

  it("are unknown where nobody was asked, and no question where no fault asks", () => {
    expect(asked("in-time")).toMatchObject({ verdict: "unknown", summary: "stop on target was never asked" });
    expect(runCheck(answers, makeCase({ faults: [{ id: "fault-0", name: "fault 0" }] }))).toBeUndefined();
  });
});
