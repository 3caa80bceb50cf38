import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { UserError } from "../harness/base/errors.ts";
import { kindOfFolder, parseRunRecord, parseTimeline, readRun, readSuite, withLogLines } from "./read.ts";
import { sampleRun, writeSample } from "./samples/generate.ts";
import { temporaryFolder } from "./samples/temporary-folder.ts";
import { runRecordSchema, suiteRecordSchema, timelineEventSchema } from "./schema.ts";

const V1 = join(import.meta.dirname, "samples", "v1");

describe("files of version 1 still read", () => {
  it.each(["txsync-intact", "stock-lost", "txsync-corrupt"])("run %s, every line of it", async (name) => {
    const run = await readRun(join(V1, name));
    expect(run.problems).toEqual([]);
    expect(run.partial).toBe(false);
    expect(run.events.length).toBeGreaterThan(100);
    expect(run.events.filter((event) => event.kind === "unread")).toEqual([]);
  });

  it("the suite and its runs", async () => {
    const suite = await readSuite(V1);
    expect(suite.problems).toEqual([]);
    expect(suite.runs.map((run) => run.record.verdict)).toEqual(["intact", "lost", "corrupt"]);
  });

  it("the samples hold every kind of event", async () => {
    const names = ["txsync-intact", "stock-lost", "txsync-corrupt", "no-record", "later-kinds"];
    const texts = await Promise.all(names.map((name) => readFile(join(V1, name, "timeline.ndjson"), "utf8")));
    const seen = new Set(texts.flatMap((text) => parseTimeline(text).events.map((event) => event.kind)));
    const known = timelineEventSchema.options.map((option) => option.shape.kind.value);
    expect(known.filter((kind) => !seen.has(kind))).toEqual([]);
  });

  it("the JSON Schema files and SCHEMA.md say what the schema says", async () => {
    const schemas = { run: runRecordSchema, "timeline-event": timelineEventSchema, suite: suiteRecordSchema };
    for (const [name, schema] of Object.entries(schemas)) {
      const written = JSON.parse(await readFile(join(import.meta.dirname, "json", `${name}.v1.schema.json`), "utf8"));
      expect(written).toEqual(JSON.parse(JSON.stringify(z.toJSONSchema(schema))));
    }
    const documented = await readFile(join(import.meta.dirname, "SCHEMA.md"), "utf8");
    for (const option of timelineEventSchema.options) expect(documented).toContain(`\`${option.shape.kind.value}\``);
  });
});

describe("what is torn, unknown or too new", () => {
  it("cut at any byte, a timeline reads up to the cut and says what was torn", () => {
    const text = sampleRun()
      .events.slice(0, 12)
      .map((event) => `${JSON.stringify(event)}\n`)
      .join("");
    fc.assert(
      fc.property(fc.nat(text.length), (cut) => {
        const whole = text.slice(0, cut).split("\n").slice(0, -1).length;
        const { events, problems } = parseTimeline(text.slice(0, cut));
        expect(events.filter((event) => event.kind !== "unread").length).toBeGreaterThanOrEqual(whole);
        expect(problems.length).toBe(events.filter((event) => event.kind === "unread").length);
      }),
    );
  });

  it("never throws, whatever the text", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => parseTimeline(text).events.length >= 0));
    fc.assert(fc.property(fc.json(), (text) => parseTimeline(text).events.length >= 0));
  });

  it("keeps fields of a later version, and events of later kinds as text at their time", () => {
    const { events, problems } = parseTimeline(
      '{"at_ms":5,"lane":"run","kind":"run.note","text":"a","later":1}\n{"at_ms":3,"lane":"run","kind":"from.later","x":2}\n',
    );
    expect(events.map((event) => [event.kind, event.at_ms])).toEqual([
      ["unread", 3],
      ["run.note", 5],
    ]);
    expect(events[1]).toMatchObject({ later: 1 });
    expect(problems).toEqual(["timeline.ndjson line 2 has an event from.later that this version does not know"]);
  });

  it("refuses a newer record by name, and says which field is wrong in a broken one", () => {
    const { record } = sampleRun();
    expect(() => parseRunRecord({ ...record, version: 2 }, "x/run.json")).toThrow(/x\/run\.json is of version 2/);
    expect(() => parseRunRecord({ ...record, verdict: "fine" }, "x/run.json")).toThrow(/verdict/);
  });

  it("makes a record from the timeline alone where the harness died, and says so", async () => {
    const run = await readRun(join(V1, "no-record"));
    expect(run.partial).toBe(true);
    expect(run.record).toMatchObject({ scenario: "no-record", seed: 7, verdict: "unknown", as_expected: false });
    expect(run.problems.join()).toContain("from the timeline alone");
  });

  it("names a folder that is no run", async () => {
    const empty = await temporaryFolder();
    await expect(kindOfFolder(empty)).rejects.toThrow(UserError);
    await expect(kindOfFolder(join(empty, "gone"))).rejects.toThrow(/no folder/);
    await expect(readSuite(empty)).rejects.toThrow(UserError);
  });
});

describe("log files", () => {
  it("have their lines in their places by the time they begin with, once", () => {
    const events = parseTimeline(
      '{"at_ms":2,"lane":"source","kind":"log","stream":"qemu","line":"known"}\n{"at_ms":9,"lane":"run","kind":"run.note","text":"n"}\n',
    ).events;
    const merged = withLogLines(events, [
      { name: "source-qemu.log", text: "2.5 known\n4.25 new\nno time\n", size_bytes: 0, cut: false },
    ]);
    expect(merged.map((event) => [event.kind, event.at_ms])).toEqual([
      ["log", 2],
      ["file.line", 4.25],
      ["run.note", 9],
    ]);
  });

  it("are carried along by their end when they are long", async () => {
    const folder = await temporaryFolder();
    await writeSample(folder, sampleRun());
    await writeFile(join(folder, "source-agent.log"), `${"x".repeat(400_000)}\nthe end\n`);
    const log = (await readRun(folder)).logs.find((file) => file.name === "source-agent.log");
    expect(log?.cut).toBe(true);
    expect(log?.text.endsWith("the end\n")).toBe(true);
    expect(log?.text.length).toBe(256 * 1024);
  });
});
