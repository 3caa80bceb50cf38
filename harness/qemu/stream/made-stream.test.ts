import { describe, expect, test } from "vitest";
import { COMMAND } from "./format.ts";
import { beginning, MADE_RAM_SECTION_ID, packageOf } from "./made-stream.ts";
import { deviceStateOfPackage } from "./package.ts";
import { readStream, sample, VERSIONS } from "./testing.ts";
import { discard, endOfMigration, ramPart } from "./writer.ts";

const BLOCKS = [
  { name: "ram0", bytes: 8 << 20 },
  { name: "pc.bios", bytes: 65_536 },
];

/** Names of commands, in order. */
function commandsOf(stream: Buffer): string[] {
  const named = new Map<number, string>(Object.entries(COMMAND).map(([name, number]) => [number, name]));
  return readStream(stream, { end: false }).records.flatMap((record) => {
    if (record.kind === "packaged") return ["packaged"];
    return record.kind === "command" ? [named.get(record.command) ?? "?"] : [];
  });
}

describe.each(VERSIONS)("a stream that no QEMU %s sends", (version) => {
  const recorded = readStream(sample(`post-copy-${version}.forward`));
  const device_state = (() => {
    const packages = recorded.records.filter((record) => record.kind === "packaged");
    return deviceStateOfPackage(packages[0]?.content ?? Buffer.alloc(0));
  })();

  test("is one as QEMU reads it: beginning, discard, package, pages, end", () => {
    const made = Buffer.concat([
      beginning({ machine: `pc-q35-${version}`, blocks: BLOCKS }, 7),
      ...ramPart(MADE_RAM_SECTION_ID, [{ block: "pc.bios", page: 1, bytes: null }]),
      ...discard("ram0", [{ first: 3, count: 2 }]),
      packageOf(device_state),
      ...ramPart(MADE_RAM_SECTION_ID, [{ block: "ram0", page: 3, bytes: null }]),
      endOfMigration(MADE_RAM_SECTION_ID),
    ]);
    const read = readStream(made);
    expect(read.error).toBeNull();
    expect(read.ram_section_id).toBe(MADE_RAM_SECTION_ID);
    expect(commandsOf(made)).toEqual(["openReturnPath", "ping", "postcopyAdvise", "ping", "ramDiscard", "packaged"]);
    // No device of that version has the number of our RAM section.
    expect(recorded.records.some((record) => record.kind === "section" && record.id === MADE_RAM_SECTION_ID)).toBe(
      false,
    );
  });

  test("has the device state that a restore needs too", () => {
    const read = readStream(Buffer.concat([beginning({ machine: "m", blocks: BLOCKS }, 7), packageOf(device_state)]), {
      end: false,
    });
    const made = read.records.find((record) => record.kind === "packaged");
    expect(made?.kind === "packaged" && deviceStateOfPackage(made.content).equals(device_state)).toBe(true);
  });

  test("says what is to be thrown away as QEMU says it", () => {
    const told = recorded.records.flatMap((record) =>
      record.kind === "command" && record.command === COMMAND.ramDiscard ? [record.data] : [],
    );
    expect(told.length).toBeGreaterThan(0);
    for (const data of told) {
      const name = data.toString("latin1", 2, 2 + data.readUInt8(1));
      const ranges = Array.from({ length: (data.length - 3 - name.length) / 16 }, (_, i) => ({
        first: Number(data.readBigUInt64BE(3 + name.length + i * 16)) / 4096,
        count: Number(data.readBigUInt64BE(11 + name.length + i * 16)) / 4096,
      }));
      expect(Buffer.concat(discard(name, ranges)).subarray(5).equals(data)).toBe(true);
    }
  });
});

test("nothing is thrown away that is no whole page, and never nothing at all: QEMU would end", () => {
  expect(() => discard("ram0", [])).toThrow(RangeError);
  for (const range of [
    { first: 0.5, count: 1 },
    { first: -1, count: 1 },
    { first: 1, count: 0 },
    { first: 1, count: 1.5 },
  ])
    expect(() => discard("ram0", [range])).toThrow(RangeError);
  // One command takes no more than its length says.
  const many = discard(
    "ram0",
    Array.from({ length: 9000 }, (_, i) => ({ first: i * 2, count: 1 })),
  );
  expect(many.map((command) => command.length)).toEqual([64_012, 64_012, 16_012]);
});
