import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Timeline } from "./timeline.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-timeline-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("timeline", () => {
  it("is the same in memory, on disk and for whoever listens, in order", async () => {
    const path = join(folder, "ordered.ndjson");
    const timeline = new Timeline(path);
    const heard: string[] = [];
    timeline.onEvent((event) => heard.push(JSON.stringify(event)));
    for (let i = 0; i < 500; i++) timeline.emit("run", { kind: "run.note", text: `note ${i}\nof two lines` });
    await timeline.close();
    const written = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(written).toHaveLength(500);
    expect(written).toEqual(heard);
    expect(timeline.events.map((event) => JSON.stringify(event))).toEqual(heard);
    const times = timeline.events.map(({ at_ms }) => at_ms);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it("tells nothing more to a listener that has left", async () => {
    const timeline = new Timeline(join(folder, "left.ndjson"));
    let heard = 0;
    const leave = timeline.onEvent(() => {
      heard += 1;
      leave();
    });
    timeline.emit("run", { kind: "run.phase", phase: "boot" });
    timeline.emit("run", { kind: "run.phase", phase: "work" });
    expect(heard).toBe(1);
    await timeline.close();
  });

  it("takes nothing but what comes of it once it is sealed", async () => {
    const path = join(folder, "sealed.ndjson");
    const timeline = new Timeline(path);
    timeline.emit("run", { kind: "run.phase", phase: "check" });
    const sealed = timeline.seal();
    timeline.emit("source", { kind: "host.gone", how: "seen too late" });
    timeline.emit("check", { kind: "check.result", check: "ledger", verdict: true, summary: "all there" });
    timeline.emit("run", { kind: "run.finished", verdict: "intact", as_expected: true });
    await timeline.close();
    const kinds = readFileSync(path, "utf8").match(/"kind":"[a-z.]+"/g);
    expect(kinds).toEqual(['"kind":"run.phase"', '"kind":"check.result"', '"kind":"run.finished"']);
    expect(sealed).toHaveLength(1);
  });

  it("takes what comes after its end, such as a process seen to exit with its host, without breaking", async () => {
    const path = join(folder, "late.ndjson");
    const timeline = new Timeline(path);
    timeline.emit("run", { kind: "run.finished", verdict: "intact", as_expected: true });
    const closed = timeline.close();
    timeline.emit("source", { kind: "qemu.exited", code: null, last_lines: [] });
    await closed;
    timeline.emit("target", { kind: "qemu.exited", code: null, last_lines: [] });
    await new Promise((resolve) => setImmediate(resolve));
    expect(readFileSync(path, "utf8").trimEnd().split("\n")).toHaveLength(1);
    expect(timeline.events).toHaveLength(1);
  });
});
