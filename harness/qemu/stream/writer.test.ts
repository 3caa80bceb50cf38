import fc from "fast-check";
import { expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { COMMAND } from "./format.ts";
import { chunkings, type Kept, readStream } from "./testing.ts";
import {
  askReceived,
  be32,
  command,
  endOfMigration,
  type PageToWrite,
  packaged,
  ping,
  ramPart,
  resume,
} from "./writer.ts";

const SECTION = 2 ** 32 - 2;
const names = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 255,
});
const contents = fc.oneof(
  fc.constant(null),
  fc.nat(255).map((fill) => Buffer.alloc(PAGE_BYTES, fill)),
  fc.infiniteStream(fc.nat(255)).map((bytes) => Buffer.from([...bytes.take(PAGE_BYTES)])),
);
/** Blocks of up to 8 PiB, of which the offset is exact. */
const numbers = fc.oneof(
  fc.nat(9),
  fc.maxSafeInteger().map((n) => Math.floor(Math.abs(n) / PAGE_BYTES)),
);

interface Piece {
  readonly bytes: Buffer;
  readonly records: readonly Kept[];
}

function one(bytes: Buffer, ...records: Kept[]): Piece {
  return { bytes, records };
}

function commandPiece(number: number, data: Buffer): Piece {
  return one(command(number, data), { kind: "command", command: number, data });
}

function partPiece(pages: readonly PageToWrite[]): Piece {
  const read = pages.map(
    ({ block, page, bytes }): Kept => ({
      kind: "ram-page",
      block,
      offset: page * PAGE_BYTES,
      fill: 0,
      bytes: bytes === null ? null : Buffer.from(bytes),
    }),
  );
  return one(
    Buffer.concat(ramPart(SECTION, pages)),
    { kind: "ram-section", id: SECTION, part: "part" },
    ...read,
    { kind: "ram-end-of-part" },
    { kind: "footer", id: SECTION },
  );
}

const block = fc.constantFrom("ram0", "pc.bios");
const piece: fc.Arbitrary<Piece> = fc.oneof(
  fc.nat(2 ** 32 - 1).map((value) => one(ping(value), { kind: "command", command: COMMAND.ping, data: be32(value) })),
  names.map((name) =>
    one(askReceived(name), {
      kind: "command",
      command: COMMAND.receivedBitmap,
      data: Buffer.concat([Buffer.of(name.length), Buffer.from(name, "latin1")]),
    }),
  ),
  fc.constant(one(resume(), { kind: "command", command: COMMAND.postcopyResume, data: Buffer.alloc(0) })),
  fc
    .tuple(fc.constantFrom(COMMAND.postcopyAdvise, COMMAND.ramDiscard), fc.uint8Array({ maxLength: 600 }))
    .map(([number, data]) => commandPiece(number, Buffer.from(data))),
  fc.uint8Array({ maxLength: 600 }).map((content) => {
    const copy = Buffer.from(content);
    return one(packaged(copy), { kind: "packaged", content: copy });
  }),
  fc
    .array(fc.record({ block: fc.oneof(block, names), page: numbers, bytes: contents }), { maxLength: 6 })
    .map(partPiece),
);

test("what the writer writes, the reader reads, in any pieces", () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), chunkings, (written, chunks) => {
      const all = [
        ...written,
        partPiece([]),
        one(
          endOfMigration(SECTION),
          { kind: "ram-section", id: SECTION, part: "end" },
          { kind: "ram-end-of-part" },
          { kind: "footer", id: SECTION },
          { kind: "eof" },
        ),
      ];
      const stream = Buffer.concat(all.map(({ bytes }) => bytes));
      const read = readStream(stream, { from: "top", chunks });
      expect(read.error).toBeNull();
      expect(read.records).toEqual(all.flatMap(({ records }) => records));
      expect(read.raw.equals(stream)).toBe(true);
      expect(read.held_bytes).toBe(0);
      expect(read.ram_section_id).toBe(SECTION);
    }),
    { numRuns: 200 },
  );
});

test("a page of the same block as before does not name it, also in QEMU's eyes", () => {
  const pages = [3, 4, 5].map((page) => ({ block: page === 5 ? "b" : "a", page, bytes: null }));
  expect(Buffer.concat(ramPart(2, pages)).toString("hex")).toBe(
    [
      "0200000002",
      "0000000000003002", // page 3, filled
      "0161",
      "00",
      "0000000000004022", // page 4, filled, same block
      "00",
      "0000000000005002",
      "0162",
      "00",
      "0000000000000010",
      "7e00000002",
    ].join(""),
  );
});

test("what QEMU could not read is not written", () => {
  expect(() => ramPart(2, [{ block: "a", page: 0, bytes: Buffer.alloc(4095) }])).toThrow(/a page of 4095 bytes/);
  expect(() => ramPart(2, [{ block: "a".repeat(256), page: 0, bytes: null }])).toThrow(/a name of 256 bytes/);
  expect(() => ramPart(2, [{ block: "a", page: -1, bytes: null }])).toThrow(RangeError);
  expect(() => ramPart(2, [{ block: "a", page: 0.5, bytes: null }])).toThrow(RangeError);
});
