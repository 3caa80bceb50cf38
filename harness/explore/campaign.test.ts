import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ownerOf } from "../fleet/owner.ts";
import { beginCampaign, type Campaign, counting, isOpen, readCampaign, resumeCampaign } from "./campaign.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-campaign-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ABOUT: Omit<Campaign, "version" | "owner"> = {
  kind: "matrix",
  command: "run --matrix",
  started_at: "2026-01-01T00:00:00.000Z",
  plan: "abc",
  seed: 7,
  jobs: ["a", "b", "c"],
};

function run(name: string, record?: string): void {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, "timeline.ndjson"), "");
  if (record !== undefined) writeFileSync(join(folder, name, "run.json"), record);
}

const record = (job: string, more: object = {}): string =>
  JSON.stringify({ job, verdict: "intact", as_expected: true, timings: { total_ms: 1 }, ...more });

describe("a campaign that was interrupted", () => {
  it("goes on with what is whole; half a run, and one that was ended, is thrown away", async () => {
    await beginCampaign(folder, ABOUT);
    run("whole", record("a"));
    run("begun");
    run("torn", record("b").slice(0, 20));
    run("ended", record("c", { verdict: "unknown", as_expected: false, error: "interrupted" }));
    const { campaign, done, dropped } = await resumeCampaign(folder);
    expect(campaign).toMatchObject(ABOUT);
    expect(done.map(({ job }) => job)).toEqual(["a"]);
    expect([...dropped].sort()).toEqual(["begun", "ended", "torn"]);
    expect(readdirSync(folder).sort()).toEqual(["campaign.json", "whole"]);
  });

  it("is not taken from a process that lives", async () => {
    await beginCampaign(folder, ABOUT);
    const campaign = await readCampaign(folder);
    const alive = ownerOf(process.ppid);
    writeFileSync(join(folder, "campaign.json"), JSON.stringify({ ...campaign, owner: alive }));
    await expect(resumeCampaign(folder)).rejects.toThrow(/being run by a process that lives/);
    writeFileSync(join(folder, "campaign.json"), JSON.stringify({ ...campaign, owner: "elsewhere/1/1" }));
    expect((await resumeCampaign(folder)).done).toEqual([]);
  });

  it("has to be one", async () => {
    await expect(resumeCampaign(folder)).rejects.toThrow(/is no campaign/);
    writeFileSync(join(folder, "campaign.json"), "{");
    await expect(resumeCampaign(folder)).rejects.toThrow(/cannot be read/);
  });
});

it("what proved nothing is made once more, and then it stays; what said something counts", () => {
  const [nothing, intact] = [{ verdict: "unknown" as const }, { verdict: "intact" as const }];
  expect([isOpen([]), isOpen([nothing]), isOpen([nothing, nothing]), isOpen([nothing, intact])]).toEqual([
    true,
    true,
    false,
    false,
  ]);
  const done = (job: string, verdict: "unknown" | "intact", at: string) => ({
    job,
    verdict,
    folder: at,
    as_expected: verdict === "intact",
    total_ms: 1,
  });
  const counted = counting([done("a", "intact", "1"), done("a", "unknown", "2"), done("b", "unknown", "3")]);
  expect(counted.map(({ folder: at }) => at)).toEqual(["1", "3"]);
});
