import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { linkCutHealed } from "../../scenarios/network/link-cut-healed.ts";
import { quoteWord, splitWords } from "../base/words.ts";
import { compose, saidAgain } from "./compose.ts";
import { saveScenario, scenariosIn } from "./scenario-file.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-compose-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const said = {
  faults: ["cut-silent:source-target,forward@step=target-running+200ms..heal=1s", "kill-host:target@healed=0"],
  expect: "intact, stillness <= 2s",
  recoveries: ["txsync"],
} as const;

describe("a scenario that is put together on the command line", () => {
  it("has the faults that were typed, and is expected to come out as was said", () => {
    expect(compose(said)).toMatchObject({
      id: "composed",
      title: said.faults.join(" and "),
      faults: [
        {
          fault: { fault: "cut-silent", link: "source-target", direction: "forward" },
          at: { on: "step", step: "target-running", after_ms: 200 },
          heal: { on: "fault", index: 0, after_ms: 1_000 },
        },
        { fault: { fault: "kill-host", host: "target" }, at: { on: "healed", index: 0 } },
      ],
      expect: { txsync: "intact" },
      limits: [{ of: "stillness", most: 2_000 }],
    });
  });

  it("may be one of ours with more of it: what is counted goes on counting", () => {
    const composed = compose({ faults: ["kill-host:source@fault=0..heal=1s"], recoveries: ["stock"] }, linkCutHealed);
    expect(composed.faults[0]).toEqual(linkCutHealed.faults[0]);
    expect(composed.faults[1]?.heal).toEqual({ on: "fault", index: 1, after_ms: 1_000 });
    expect(composed).toMatchObject({ id: "link-cut-healed", group: "composed", expect: linkCutHealed.expect });
  });

  it("may be one of ours with another expectation only", () => {
    const composed = compose({ faults: [], expect: "lost", recoveries: ["stock"] }, linkCutHealed);
    // What is expected on some versions or with some managers would go before what was just said.
    const { expect_on: _, ...rest } = linkCutHealed;
    expect(composed).toEqual({ ...rest, expect: { stock: "lost", txsync: "intact" } });
  });

  it("is refused where its faults do not fit together", () => {
    expect(() => compose({ faults: ["kill-host:target@healed=3"], recoveries: ["stock"] })).toThrow(/no fault 3/);
    expect(() => compose({ faults: ["kill-host:target@fault=0"], recoveries: ["stock"] })).toThrow(/wait for itself/);
  });

  it("is said again by the same words", () => {
    const words = splitWords(saidAgain(said).map(quoteWord).join(" "));
    expect(words).toEqual(["--fault", said.faults[0], "--fault", said.faults[1], "--expect", said.expect]);
  });

  it("is what was put together when it was written out and read again, from a folder that knows nothing of us", async () => {
    const file = join(folder, "my-cut.scenario.ts");
    const saved = await saveScenario(file, compose(said), "run …");
    expect(saved).toEqual({ ...compose(said), id: "my-cut" });
    expect(await scenariosIn(file)).toEqual([saved]);
    await expect(saveScenario(file, compose(said), "run …")).rejects.toThrow(/There is a file .* already/);
    await expect(saveScenario(join(folder, "x.ts"), compose(said), "")).rejects.toThrow(/ends with \.scenario\.ts/);
    await expect(saveScenario(join(folder, "no", "x.scenario.ts"), compose(said), "")).rejects.toThrow(
      /could not be written/,
    );
  });
});

describe("a file of scenarios", () => {
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const ONE = JSON.stringify(linkCutHealed);

  it("may export one, several, or a list", async () => {
    const several = file(
      "several.scenario.ts",
      `const one = ${ONE}; export const a = { ...one, id: "a" }; export const rest = [{ ...one, id: "b" }]; export const other = 3;`,
    );
    expect((await scenariosIn(several)).map(({ id }) => id)).toEqual(["a", "b"]);
  });

  it("is refused with the place in it that is wrong, or because there is none", async () => {
    const wrong = file("wrong.scenario.ts", `export const mine = { ...${ONE}, guests: ["bsd"] };`);
    await expect(scenariosIn(wrong)).rejects.toThrow(/"link-cut-healed" in .*wrong.* is no scenario: guests\.0: /);
    await expect(scenariosIn(file("none.scenario.ts", "export const x = 1;"))).rejects.toThrow(/exports no scenario/);
    await expect(scenariosIn(file("broken.scenario.ts", "export const = 1;"))).rejects.toThrow(/could not be loaded/);
    await expect(scenariosIn(join(folder, "nowhere.scenario.ts"))).rejects.toThrow(/There is no file/);
  });
});
