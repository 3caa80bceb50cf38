import { expect, test } from "vitest";
import { COMMAND } from "./format.ts";
import { StreamReader, type StreamRecord } from "./reader.ts";
import { askReceived, endOfMigration, ping, ramPart, resume } from "./writer.ts";

test("what the writer writes, the reader reads", () => {
  const bytes = Buffer.alloc(4096, 7);
  const stream = Buffer.concat([
    askReceived("ram0"),
    resume(),
    ...ramPart(2, [
      { block: "ram0", page: 3, bytes },
      { block: "ram0", page: 4, bytes: null },
      { block: "pc.bios", page: 0, bytes: null },
    ]),
    ping(4),
    endOfMigration(2),
  ]);
  const records: StreamRecord[] = [];
  const reader = new StreamReader((record) => records.push(record), "top");
  reader.push(stream);
  reader.end();
  expect(reader.held_bytes).toBe(0);
  expect(reader.ram_section_id).toBe(2);
  expect(records.map(({ raw: _, ...record }) => record)).toEqual([
    { kind: "command", command: COMMAND.receivedBitmap, data: Buffer.from("\x04ram0") },
    { kind: "command", command: COMMAND.postcopyResume, data: Buffer.alloc(0) },
    { kind: "ram-section", id: 2, part: "part" },
    { kind: "ram-page", block: "ram0", offset: 3 * 4096, fill: 0, bytes },
    { kind: "ram-page", block: "ram0", offset: 4 * 4096, fill: 0, bytes: null },
    { kind: "ram-page", block: "pc.bios", offset: 0, fill: 0, bytes: null },
    { kind: "ram-end-of-part" },
    { kind: "footer", id: 2 },
    { kind: "command", command: COMMAND.ping, data: Buffer.from([0, 0, 0, 4]) },
    { kind: "ram-section", id: 2, part: "end" },
    { kind: "ram-end-of-part" },
    { kind: "footer", id: 2 },
    { kind: "eof" },
  ]);
  expect(Buffer.concat(records.map(({ raw }) => raw))).toEqual(stream);
});
