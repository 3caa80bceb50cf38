import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { EVERY_SCENARIO, SCENARIOS } from "../../scenarios/index.ts";
import type { Recovery } from "../base/run-record.ts";
import { choose, type Filters, tagsOf } from "./choose.ts";
import { LATEST, markLatest } from "./latest.ts";
import { failedIn } from "./rerun.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-choose-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function ids(names: readonly string[], filters: Filters = {}, recovery: Recovery = "txsync"): Promise<string[]> {
  return (await choose(names, filters, [recovery], SCENARIOS)).map(({ scenario }) => scenario.id);
}

describe("choosing scenarios", () => {
  it("by name, glob, and all that can happen under the recovery, each once", async () => {
    expect(await ids(["no-fault", "link-slow", "no-fault"])).toEqual(["no-fault", "link-slow"]);
    expect(await ids(["source-host-*"])).toEqual(
      SCENARIOS.flatMap(({ id }) => (id.startsWith("source-host-") ? id : [])),
    );
    expect(await ids(["all"])).toHaveLength(SCENARIOS.length);
    const stock = await ids(["all"], {}, "stock");
    expect(stock).not.toContain("escrow-killed");
    expect(await ids(["no-fault", "all"], {}, "stock")).toEqual(stock);
  });

  it("by group and by tag, of all or of those that are named", async () => {
    expect(await ids([], { group: ["controls"] })).toEqual(["no-fault", "still-audit"]);
    const killed = await ids([], { tag: ["kill-host"], group: ["target"] });
    expect(killed).toContain("target-host-killed");
    for (const id of killed)
      expect(tagsOf(SCENARIOS.find((each) => each.id === id) ?? expect.fail())).toContain("kill-host");
    expect(await ids(["link-*"], { tag: ["cut-silent"] })).toContain("link-cut-silent-healed");
  });

  it("for a guest: what is not for it is left out, where it was not named by itself", async () => {
    const linux = await ids(["all"], { guest: "linux" });
    expect(linux).toEqual(SCENARIOS.filter(({ guests }) => guests.includes("linux")).map(({ id }) => id));
    expect(linux.length).toBeLessThan(SCENARIOS.length);
    expect(await ids(["one-of-*"], { guest: "integrity" })).toEqual(["one-of-four-vcpus-waits"]);
    await expect(ids(["one-of-*"], { guest: "linux" })).rejects.toThrow(/No scenario is of that choice/);
    expect(await ids(["one-of-four-vcpus-waits"], { guest: "linux" })).toEqual(["one-of-four-vcpus-waits"]);
    expect(await ids(["all"], { guest: "custom" })).toHaveLength(SCENARIOS.length);
  });

  it("leaves findings out of all, and has them by name, by glob, by group and by tag", async () => {
    const every = async (names: readonly string[], filters: Filters = {}) =>
      (await choose(names, filters, ["stock"], EVERY_SCENARIO)).map(({ scenario }) => scenario.id);
    expect(await every(["all"])).not.toContain("libvirt-resume");
    expect(await every(["libvirt-*"])).toEqual(["libvirt-resume"]);
    expect(await every([], { group: ["findings"] })).toContain("libvirt-resume");
    expect(await every(["all"], { tag: ["qmp"] })).toContain("stop-hangs-the-monitor");
  });

  it("says what is wrong with a choice of nothing, of what is not there, or of what cannot happen", async () => {
    await expect(ids([])).rejects.toThrow(/^Which scenarios\?/);
    await expect(ids(["no-such"])).rejects.toThrow(/There is no scenario "no-such"\. There are: no-fault, /);
    await expect(ids(["no-such-*"])).rejects.toThrow(/There is no scenario "no-such-\*"/);
    await expect(ids([], { group: ["lunch"] })).rejects.toThrow(/Groups: controls, .*Tags: /);
    await expect(ids(["escrow-killed"], {}, "stock")).rejects.toThrow(/breaks what only txsync has/);
    await expect(ids(["./nowhere.scenario.ts"])).rejects.toThrow(/There is no file/);
  });

  it("by file, and one of several in it", async () => {
    const [one] = SCENARIOS;
    const file = join(folder, "two.scenario.ts");
    const text = JSON.stringify({ ...one, id: "one" });
    writeFileSync(file, `export const a = ${text}; export const b = { ...a, id: "two" };`);
    expect(await ids([file])).toEqual(["one", "two"]);
    const [two] = await choose([`${file}#two`], {}, ["txsync"], SCENARIOS);
    expect([two?.scenario.id, two?.named]).toEqual(["two", `${file}#two`]);
    await expect(ids([`${file}#three`])).rejects.toThrow(/has no scenario "three"\. It has: one, two/);
  });
});

describe("the last runs", () => {
  it("are where latest leads, whichever were last", async () => {
    await markLatest(join(folder, "first"));
    await markLatest(join(folder, "second"));
    expect(await readlink(join(folder, LATEST))).toBe("second");
  });

  it("have their failures run again, by the commands in their records", () => {
    const suite = join(folder, "suite");
    const record = (name: string, as_expected: boolean, command: string): void => {
      mkdirSync(join(suite, name), { recursive: true });
      writeFileSync(join(suite, name, "run.json"), JSON.stringify({ as_expected, command }));
    };
    record("a", true, "npx tsx harness/cli.ts run no-fault --seed 1");
    expect(() => failedIn(suite)).toThrow(/All 1 runs in .* came out as expected/);
    record("b", false, "npx tsx harness/cli.ts run link-slow --seed 2 --expect 'intact, detect <= 1s'");
    expect(failedIn(suite)).toEqual([["link-slow", "--seed", "2", "--expect", "intact, detect <= 1s"]]);
    record("c", false, "(no command: a program asked for it)");
    expect(() => failedIn(suite)).toThrow(/has runs that a program asked for/);
    expect(() => failedIn(join(folder, "nowhere"))).toThrow(/nothing was run there yet/);
    expect(() => failedIn(join(folder, "first"))).toThrow(/holds no runs/);
  });
});
