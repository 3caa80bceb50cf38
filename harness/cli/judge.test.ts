import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { UserError } from "../base/errors.ts";
import { changedAt, placesIn } from "../base/json-places.ts";
import type { RunRecord } from "../base/run-record.ts";
import type { TimelineEvent } from "../base/timeline.ts";
import { at, makeCase, WELL_EVENTS } from "../checks/testing/make-case.ts";
import { judge } from "../checks/verdict.ts";
import { writeEvidence } from "../run/evidence-file.ts";
import { askedDigest, scenarioOf } from "../run/judge-again.ts";
import { makeRecord } from "../run/make-record.ts";
import { type JudgedAgain, judgeFolder } from "./judge.ts";
import { leaveFiles } from "./testing/leave-files.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const FAULTS = [{ fault: "kill-host", on: "escrow", at: "completed" }];
const STRUCK = { kind: "fault.injected", fault: "kill-host", id: "fault-0", what: "kill-host: escrow" } as const;

/** A run's folder as a run leaves it, whose VM lost a page. */
async function corruptRun(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-judge-"));
  folders.push(folder);
  const memory = { state: "got", value: { step: 9, pages_checked: 100, bad_count: 1, bad: [] } } as const;
  const asked = scenarioOf({ faults: FAULTS });
  const began = (event: TimelineEvent): TimelineEvent =>
    event.kind === "run.started" ? { ...event, asked_sha256: askedDigest(asked) } : event;
  const happened = [...WELL_EVENTS.map(began), at(3_001, "fault", STRUCK)];
  const {
    scenario,
    events,
    evidence: draft,
  } = makeCase({ findings: { memory }, events: happened, faults: asked.faults });
  const { evidence, sha256 } = await writeEvidence(folder, draft, events);
  const { verdict, why, checks } = judge(scenario, events, evidence);
  const finished = { kind: "run.finished", verdict, as_expected: false, evidence_sha256: sha256 } as const;
  const over = at(9_000, "run", finished);
  const told = checks.map(({ check, verdict, summary }) =>
    at(8_999, "check", { kind: "check.result", check, verdict, summary }),
  );
  const lines = [...events, ...told, over].map((event: TimelineEvent) => `${JSON.stringify(event)}\n`);
  writeFileSync(join(folder, "timeline.ndjson"), lines.join(""));
  const record = makeRecord({ verdict, why, checks, faults: FAULTS, evidence_sha256: sha256, as_expected: false });
  writeFileSync(join(folder, "run.json"), `${JSON.stringify(record, null, 2)}\n`);
  return folder;
}

function change(folder: string, file: string, how: (text: string) => string): void {
  const [path, text] = [join(folder, file), readFileSync(join(folder, file), "utf8")];
  const changed = how(text);
  expect(changed).not.toBe(text);
  writeFileSync(path, changed);
}

const changeRecord = (folder: string, how: (record: RunRecord) => object): void =>
  change(folder, "run.json", (text) => JSON.stringify(how(JSON.parse(text))));

/** Somebody who would have a corrupt run pass for an intact one, and what they have to change. */
const wholeMemory = (text: string): string => text.replace('"bad_count": 1', '"bad_count": 0');
const lines = (text: string): string[] => text.split("\n");

async function found(tamper: (folder: string) => void): Promise<JudgedAgain> {
  const folder = await corruptRun();
  tamper(folder);
  return await judgeFolder(folder);
}

describe("a run that is judged again from its folder", () => {
  it("comes to what it came to, where nobody changed anything", async () => {
    expect(await judgeFolder(await corruptRun())).toMatchObject({ judged: { verdict: "corrupt" }, contradictions: [] });
  });

  it("is never intact because its record says so", async () => {
    const { judged, contradictions } = await found((folder) =>
      changeRecord(folder, (record) => ({ ...record, verdict: "intact", why: "all checks hold", checks: [] })),
    );
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toContain("come to corrupt: ");
    expect(contradictions[0]).toBe("by run.json the verdict was intact, by the timeline corrupt");
    expect(contradictions).toContain("by run.json memory-model said nothing, by the timeline false");
  });

  it("is not of one piece where its evidence was made better", async () => {
    const { judged, contradictions } = await found((folder) => change(folder, "evidence.json", wholeMemory));
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toContain("not of one piece: evidence.json is not the one");
    expect(contradictions[0]).toContain("its SHA-256 is another than in run.json");
  });

  it.each([false, true])(
    "is not where its record was made to fit as well, verdict and all: %s",
    async (verdict_too) => {
      const { judged, contradictions } = await found((folder) => {
        change(folder, "evidence.json", wholeMemory);
        const sha256 = createHash("sha256")
          .update(readFileSync(join(folder, "evidence.json")))
          .digest("hex");
        const better = verdict_too ? { verdict: "intact" } : {};
        changeRecord(folder, (record) => ({ ...record, ...better, evidence_sha256: sha256 }));
      });
      expect(judged.verdict).toBe("unknown");
      expect(contradictions).toContain(
        "evidence.json is not the one with which the timeline ends: its SHA-256 is another",
      );
    },
  );

  it("is unknown where its record leaves a fault out, for whether that struck would not be asked", async () => {
    const { judged, contradictions } = await found((folder) =>
      changeRecord(folder, (record) => ({ ...record, faults: [] })),
    );
    expect(judged.verdict).toBe("unknown");
    expect(contradictions).toEqual(["the faults or limits in run.json are not those with which the run began"]);
  });

  it.each<[string, (text: string) => string]>([
    ["a line is gone", (text) => lines(text).toSpliced(5, 1).join("\n")],
    [
      "a line was put in",
      (text) =>
        lines(text)
          .toSpliced(5, 0, lines(text)[4] ?? "")
          .join("\n"),
    ],
    [
      "two lines changed places",
      (text) =>
        lines(text)
          .toSpliced(4, 2, lines(text)[5] ?? "", lines(text)[4] ?? "")
          .join("\n"),
    ],
    ["a number is another", (text) => text.replace('"at_ms":1005', '"at_ms":1004')],
    ["a host is another", (text) => text.replace('"owner":"target"', '"owner":"source"')],
  ])("is unknown where of its timeline %s", async (_, how) => {
    const { judged } = await found((folder) => change(folder, "timeline.ndjson", how));
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toContain("timeline and evidence contradict each other");
  });

  it("names a line that is torn", async () => {
    const { contradictions } = await found((folder) =>
      change(folder, "timeline.ndjson", (text) => text.replace("{", "[")),
    );
    expect(contradictions[0]).toBe("line 1 of timeline.ndjson is torn or was changed");
  });

  it("says that an event which this version does not know may be of a later one", async () => {
    const { judged, contradictions } = await found((folder) =>
      change(folder, "timeline.ndjson", (text) => text.replace(/"kind":"run.started"/, '"kind":"from.later"')),
    );
    expect(judged.verdict).toBe("unknown");
    expect(contradictions[0]).toContain(
      "line 1 of timeline.ndjson has an event from.later, which this version does not",
    );
  });
});

/** Runs of real parts, as this version wrote them down. */
const SAMPLES = join(import.meta.dirname, "../../reports/samples/v1");

function copyOf(sample: string): string {
  const folder = mkdtempSync(join(tmpdir(), "ferryman-judge-"));
  folders.push(folder);
  cpSync(join(SAMPLES, sample), folder, { recursive: true });
  return folder;
}

describe("a sample of this version", () => {
  it.each(["judged-intact", "judged-lost"])("%s comes to what it came to", async (sample) => {
    const { record, judged, contradictions } = await judgeFolder(join(SAMPLES, sample));
    expect(contradictions).toEqual([]);
    expect([judged.verdict, judged.why]).toEqual([record.verdict, record.why]);
    expect(judged.checks).toEqual(record.checks);
  });

  it("that was intact is unknown where a log that it left is missing, and says what it would be by itself", async () => {
    const folder = copyOf("judged-intact");
    await leaveFiles(folder, { "target-console.log": "1.0 booted\n", "source-qmp.log": "" });
    expect(await judgeFolder(folder)).toMatchObject({ judged: { verdict: "intact" }, contradictions: [] });
    rmSync(join(folder, "target-console.log"));
    const { judged, contradictions } = await judgeFolder(folder);
    expect(contradictions).toEqual(["missing of what the run left: target-console.log"]);
    expect(judged.verdict).toBe("unknown");
    expect(judged.why).toMatch(/missing of what the run left: target-console.log; .* by themselves come to intact/);
  });

  it("that was lost is not intact, whatever one field of it says, digest and all", async () => {
    const folder = copyOf("judged-lost");
    const files = ["evidence.json", "run.json"] as const;
    const texts = files.map((file) => readFileSync(join(folder, file), "utf8"));
    const places = texts.map((text) =>
      [...placesIn(JSON.parse(text))].map(([path]) => path).filter((path) => path.length > 0),
    );
    const forged = fc.constantFrom<unknown>(undefined, 0, 1, 9_999, true, false, "target", "intact", [], {}, null);
    const one = fc.nat(1).chain((of) => fc.tuple(fc.constant(of), fc.constantFrom(...(places[of] ?? [[]])), forged));
    await fc.assert(
      fc.asyncProperty(one, async ([of, path, value]) => {
        const changed = changedAt(JSON.parse(texts[of] ?? ""), path, value);
        const [evidence, record] = texts.map((text, index) => (index === of ? JSON.stringify(changed) : text));
        const evidence_sha256 = createHash("sha256")
          .update(evidence ?? "")
          .digest("hex");
        writeFileSync(join(folder, "evidence.json"), evidence ?? "");
        const whole = of === 0 ? JSON.stringify({ ...JSON.parse(record ?? ""), evidence_sha256 }) : (record ?? "");
        writeFileSync(join(folder, "run.json"), whole);
        const again = await judgeFolder(folder).catch((error: unknown) => error);
        if (again instanceof UserError) return;
        expect((again as JudgedAgain).judged.verdict).not.toBe("intact");
      }),
      { numRuns: 200 },
    );
  });

  it("that was intact is unknown as soon as a byte of its evidence is another", async () => {
    const folder = copyOf("judged-intact");
    change(folder, "evidence.json", (text) => text.replace('"bad_count": 0', '"bad_count":  0'));
    expect(await judgeFolder(folder)).toMatchObject({ judged: { verdict: "unknown" } });
  });
});
