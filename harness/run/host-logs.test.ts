import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { HostLogs } from "./host-logs.ts";

const folder = mkdtempSync(join(tmpdir(), "ferryman-host-logs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("keeps each log of each host in a file of its own, with the timeline's time", async () => {
  const logs = new HostLogs(folder, { now_ms: 12.5 });
  logs.of("source")("agent", "up");
  logs.of("target")("console", "boot");
  logs.of("source")("agent", "down");
  await logs[Symbol.asyncDispose]();
  expect(readFileSync(join(folder, "source-agent.log"), "utf8")).toBe("12.500 up\n12.500 down\n");
  expect(readFileSync(join(folder, "target-console.log"), "utf8")).toBe("12.500 boot\n");
});

it("grows to its bound and says what is not in it", async () => {
  const logs = new HostLogs(folder, { now_ms: 1 }, 200);
  for (let n = 0; n < 1_000; n++) logs.of("escrow")("console", `line ${n}`);
  await logs[Symbol.asyncDispose]();
  const lines = readFileSync(join(folder, "escrow-console.log"), "utf8").trimEnd().split("\n");
  expect(lines[0]).toBe("1.000 line 0");
  expect(lines.at(-1)).toBe(`1.000 the log is full: ${1_000 - (lines.length - 1)} more lines are not in it`);
  expect(lines.length).toBeLessThan(20);
});
