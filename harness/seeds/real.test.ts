import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { chosenOf, declareRun, type RunFlags } from "../cli/run.ts";
import { cameOf } from "./real.ts";
import { REAL_RUNS, realRunOf } from "./real-runs.ts";
import { SHIPPED } from "./seeds.ts";

describe("runs of real parts that have to show a bug", () => {
  it("are named for every bug in what ships, or why there is none", () => {
    expect(Object.keys(REAL_RUNS).toSorted()).toEqual(SHIPPED.map(({ name }) => name).toSorted());
    expect(() => realRunOf("new-bug")).toThrow("nobody says which run of real parts has to show it");
  });

  const runs = Object.entries(REAL_RUNS).flatMap(([name, real]) => ("run" in real ? [[name, real.run] as const] : []));
  it.each(runs)("can be typed: %s", async (_, words) => {
    const command = declareRun(new Command()).exitOverride();
    command.parse([...words], { from: "user" });
    const [chosen, ...more] = await chosenOf(command.args, command.opts<RunFlags>());
    expect([chosen?.scenario.expect.txsync, more]).toEqual(["intact", []]);
  });
});

describe("how a run with a bug came out", () => {
  const record = (verdict: string, checks: readonly object[]): string =>
    `some line\n${JSON.stringify({ verdict, why: "because", checks })}\n`;
  const bad = (check: string) => ({ check, verdict: false, summary: "it is not so" });

  it("is by the checks that were not met", () => {
    const came = cameOf(record("lost", [{ check: "struck", verdict: true, summary: "" }, bad("vm-running")]));
    expect(came).toEqual({ out: "otherwise", what: "lost, vm-running: it is not so" });
    expect(cameOf(record("intact", [])).what).toBe("intact, because");
  });

  it("is no finding where the run proved nothing", () => {
    expect(cameOf(record("unknown", [bad("struck")])).out).toBe("unknown");
    expect(cameOf(record("unknown", [])).out).toBe("unknown");
    expect(cameOf("").out).toBe("unknown");
    expect(cameOf(record("unknown", [bad("violations")])).out).toBe("otherwise");
  });
});
