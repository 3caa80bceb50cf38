import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { BOUNDS, COMMAND, StreamError } from "./format.ts";
import { StreamReader } from "./reader.ts";
import { chunkings, type Reading, readStream, sample, shortened, VERSIONS } from "./testing.ts";
import { be32, be64, command, counted, endOfMigration, packaged, ramPart } from "./writer.ts";

const HEADER = Buffer.from("5145564d00000003", "hex");
const MIB = 2 ** 20;

/** A device's section with its footer. */
function section(id: number, name: string, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(4), be32(id), counted(name), be32(0), be32(1), body, Buffer.of(0x7e), be32(id)]);
}

/** Header, configuration, and the beginning of a RAM section with one block of 64 pages. */
const BEGINNING = Buffer.concat([
  HEADER,
  Buffer.of(7),
  be32(3),
  Buffer.from("q35"),
  Buffer.of(1),
  be32(2),
  counted("ram"),
  be32(0),
  be32(4),
  be64(64 * PAGE_BYTES + 4),
  counted("ram0"),
  be64(64 * PAGE_BYTES),
  be64(0x10),
  Buffer.of(0x7e),
  be32(2),
]);

/** As short as a stream with everything in it can be: pre-copy. */
const SMALL = Buffer.concat([
  BEGINNING,
  command(COMMAND.ping, be32(1)),
  packaged(command(COMMAND.postcopyRun)),
  ...ramPart(2, [
    { block: "ram0", page: 5, bytes: Buffer.alloc(PAGE_BYTES, 0x7e) },
    { block: "ram0", page: 6, bytes: null },
  ]),
  endOfMigration(2).subarray(0, -1),
  section(0, "timer", Buffer.from("00000000000000007e00000000010000", "hex")),
  section(5, "cpu", Buffer.alloc(0)),
  section(6, "serial", Buffer.from("7e00000006080002", "hex")),
  Buffer.from("0006000000027b7d", "hex"),
]);

/** Real streams with few pages in each part. */
const SHORT = VERSIONS.flatMap((version) => [
  { name: `post-copy-${version}`, from: "header" as const, stream: shortened(sample(`post-copy-${version}.forward`)) },
  { name: `pre-copy-${version}`, from: "header" as const, stream: shortened(sample(`pre-copy-${version}.forward`)) },
  {
    name: `recovery-${version}`,
    from: "top" as const,
    stream: shortened(sample(`recovery-${version}.forward`), "top"),
  },
]);

/** Whether the same was read; what was held meanwhile is up to the pieces. Quicker than `toEqual` where bytes are many. */
function isSame(one: Reading, other: Reading): boolean {
  const told = ({ records, ends, raw, error, ram_section_id }: Reading) => ({
    records,
    ends,
    raw,
    error: [error?.message, error?.offset],
    ram_section_id,
  });
  return isDeepStrictEqual(told(one), told(other));
}

/** Whether a stream may end here: between two records, but where a device's section is not told from what follows. */
function mayEnd(whole: Reading, cut: number): boolean {
  const count = cut === 0 ? 0 : whole.ends.indexOf(cut) + 1;
  if (cut > 0 && count === 0) return false;
  const [before, last] = [whole.records[count - 2], whole.records[count - 1]];
  return last?.kind !== "section" && !(last?.kind === "footer" && before?.kind === "section");
}

function checkCut(stream: Buffer, whole: Reading, cut: number, from: "header" | "top"): void {
  const part = readStream(stream.subarray(0, cut), { from });
  const count = whole.ends.filter((end) => end <= cut).length;
  if (mayEnd(whole, cut)) {
    expect(part.error, `at ${cut}`).toBeNull();
    expect(isDeepStrictEqual(part.records, whole.records.slice(0, count)), `at ${cut}`).toBe(true);
    return;
  }
  expect(part.error?.message, `at ${cut}`).toMatch(/ends in the middle of a record at byte \d+$/);
  expect(part.error?.offset).toBeLessThanOrEqual(cut);
  // The last section, its footer and the end mark behind may not be told yet.
  expect(part.records.length).toBeLessThanOrEqual(count);
  expect(part.records.length).toBeGreaterThanOrEqual(count - 3);
  expect(isDeepStrictEqual(part.records, whole.records.slice(0, part.records.length)), `at ${cut}`).toBe(true);
}

describe("a stream in pieces", () => {
  test("is the same records, whatever the pieces", () => {
    for (const { from, stream } of [...SHORT, { from: "header" as const, stream: SMALL }]) {
      const whole = readStream(stream, { from });
      expect(whole.error).toBeNull();
      expect(isSame(readStream(stream, { from, chunks: [1] }), whole)).toBe(true);
      fc.assert(
        fc.property(chunkings, (chunks) => isSame(readStream(stream, { from, chunks }), whole)),
        { numRuns: 15 },
      );
    }
  });

  test.each(VERSIONS)("holds no more than a record of a whole stream of QEMU %s", (version) => {
    const stream = sample(`post-copy-${version}.forward`);
    const whole = readStream(stream);
    const longest = Math.max(...whole.ends.map((end, index) => end - (whole.ends[index - 1] ?? 0)));
    const read = readStream(stream, { chunks: [1000] });
    expect(isSame(read, whole)).toBe(true);
    expect(read.held_most).toBeLessThan(longest + 1000);
  });

  test("cut anywhere is a beginning of its records, and an error unless it is cut between two", () => {
    const whole = readStream(SMALL);
    expect(whole.error).toBeNull();
    expect(whole.records.filter(({ kind }) => kind === "section").length).toBe(3);
    for (let cut = 0; cut <= SMALL.length; cut += 1) checkCut(SMALL, whole, cut, "header");
  });

  test.each(SHORT)("cut anywhere: $name", ({ stream, from }) => {
    const whole = readStream(stream, { from });
    expect(whole.error).toBeNull();
    for (const end of whole.ends.slice(-150)) {
      checkCut(stream, whole, end, from);
      checkCut(stream, whole, end - 1, from);
    }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: stream.length }), (cut) => checkCut(stream, whole, cut, from)),
      { numRuns: 150 },
    );
  });
});

describe("the end of a device's section", () => {
  const bodyOf = (stream: Buffer, chunks: number[] = []) =>
    readStream(stream, { chunks }).records.flatMap((record) => (record.kind === "section" ? [record.body] : []));

  test("is not where its footer's bytes happen to stand in it", () => {
    // cpu_ticks_offset of the timer, section 0 on 7.2 and 10.0, ends with 7e once in 256 times; zeros follow it.
    const traps = [
      "7e000000050000",
      "7e00000005",
      "7e0000000508000200",
      "7e000000050400000005",
      "7e7e00000005ff",
      "7e0000",
    ];
    for (const trap of traps) {
      const body = Buffer.from(`01${trap}02`, "hex");
      for (const behind of [Buffer.of(0), Buffer.from("000600000000", "hex"), section(9, "next", Buffer.alloc(3))]) {
        const stream = Buffer.concat([
          HEADER,
          section(5, "device", body),
          behind,
          ...(behind[0] === 4 ? [Buffer.of(0)] : []),
        ]);
        for (const chunks of [[], [1], [2, 3]]) expect(bodyOf(stream, chunks)[0]).toEqual(body);
      }
    }
  });

  test("is found behind any body of such bytes, in any pieces", () => {
    const byte = fc.oneof(fc.constantFrom(0x7e, 0, 5, 6, 8, 4, 2), fc.nat(255));
    const bodies = fc.array(
      fc.array(byte, { maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(bodies, chunkings, (bodies, chunks) => {
        const stream = Buffer.concat([HEADER, ...bodies.map((body, id) => section(id, "device", body)), Buffer.of(0)]);
        expect(readStream(stream, { chunks }).raw.equals(stream)).toBe(true);
        expect(bodyOf(stream, chunks)).toEqual(bodyOf(stream));
      }),
      { numRuns: 300 },
    );
  });

  test("is told at the end of a stream that ends with a bare end mark", () => {
    const kinds: string[] = [];
    const reader = new StreamReader(({ kind }) => kinds.push(kind));
    reader.push(Buffer.concat([HEADER, section(5, "device", Buffer.alloc(9)), Buffer.of(0)]));
    expect(kinds).toEqual(["header"]);
    reader.end();
    expect(kinds).toEqual(["header", "section", "footer", "eof"]);
  });

  test("is looked for in a time that grows with the stream, and so far only", () => {
    const reader = new StreamReader(() => undefined);
    reader.push(Buffer.concat([HEADER, Buffer.of(4), be32(5), counted("endless"), be32(0), be32(1)]));
    const began_ms = performance.now();
    const chunk = Buffer.alloc(4096, 0x7e);
    const feed = () => {
      for (;;) {
        reader.push(chunk);
        if (reader.held_bytes > BOUNDS.deviceSection + 2 * chunk.length) return;
      }
    };
    expect(feed).toThrow(/device section longer than/);
    // Half a second on an idle machine; a reader that joins or searches all again takes many minutes.
    expect(performance.now() - began_ms).toBeLessThan(20_000);
  });
});

describe("what is not a stream", () => {
  const small = Buffer.from(SMALL);
  const wrong: readonly [string, Buffer, RegExp, number][] = [
    ["something else", Buffer.from("GET / HTTP"), /no migration stream/, 4],
    ["another version", Buffer.from("5145564d00000002", "hex"), /version 2 instead of 3/, 8],
    ["an unknown record", Buffer.concat([HEADER, Buffer.of(5)]), /unknown record 0x05/, 9],
    ["an unknown command", Buffer.concat([HEADER, command(99)]), /unknown command 99/, 11],
    ["a command's wrong length", Buffer.concat([HEADER, command(COMMAND.ping)]), /command 2 with 0 bytes/, 13],
    ["a part before the start", Buffer.concat([HEADER, ...ramPart(2, [])]), /section 2, which has not begun/, 13],
    ["a part of another", Buffer.concat([BEGINNING, ...ramPart(3, [])]), /section 3, which has not begun/, -1],
    ["a second RAM section", Buffer.concat([BEGINNING, BEGINNING.subarray(16)]), /second RAM section/, -1],
    ["a page of an unknown block", part({ block: "x", page: 0, bytes: null }), /page at 0 of "x"/, -1],
    ["a page beyond its block", part({ block: "ram0", page: 64, bytes: null }), /page at 262144 of "ram0"/, -1],
    ["multifd", ram(be64(0x200)), /unknown RAM flags 0x200/, -1],
    ["flags that exclude each other", ram(be64(0x0a)), /0xa that do not go together/, -1],
    ["a setup in a part", ram(be64(4)), /0x4 behind the RAM blocks/, -1],
    ["the same block as none", ram(be64(0x22)), /same block as none before/, -1],
    ["an offset at the end of a part", ram(be64(0x1010)), /end of a part with an offset/, -1],
    ["no footer", ram(be64(0x10), Buffer.of(8)), /0x08 where the footer of section 2/, -1],
    ["another's footer", ram(be64(0x10), Buffer.of(0x7e), be32(3)), /footer of section 3 behind section 2/, -1],
    ["something behind the end", Buffer.concat([HEADER, Buffer.of(0, 8)]), /0x08 after the end/, 10],
    ["a package too large", Buffer.concat([HEADER, command(COMMAND.packaged, be32(2 ** 31))]), /package of 2147/, -1],
    ["a name too long", Buffer.concat([HEADER, Buffer.of(7), be32(257)]), /machine name of 257/, 13],
    ["a description too long", Buffer.concat([HEADER, Buffer.of(6), be32(2 ** 30)]), /description of 1073/, 13],
    ["a live section", Buffer.concat([HEADER, Buffer.of(1), be32(9), counted("vfio"), be32(0), be32(1)]), /"vfio"/, -1],
    ["a section twice", twice(), /a second section 5/, -1],
  ];

  function part(page: { block: string; page: number; bytes: null }): Buffer {
    return Buffer.concat([BEGINNING, ...ramPart(2, [page])]);
  }

  function ram(...bytes: Buffer[]): Buffer {
    return Buffer.concat([BEGINNING, Buffer.of(2), be32(2), ...bytes]);
  }

  function twice(): Buffer {
    const head = Buffer.concat([Buffer.of(4), be32(5), counted("device"), be32(0), be32(1)]);
    return Buffer.concat([HEADER, section(5, "device", Buffer.of(1)), command(COMMAND.postcopyRun), head]);
  }

  test.each(wrong)("%s is an error with its place, and stays one", (_, stream, message, offset) => {
    const { error } = readStream(stream);
    expect(error?.message).toMatch(message);
    expect(error?.offset).toBeLessThanOrEqual(stream.length);
    if (offset >= 0) expect(error?.offset).toBe(offset);
    expect(readStream(stream, { chunks: [1] }).error).toEqual(error);
    const reader = new StreamReader(() => undefined);
    expect(() => reader.push(stream)).toThrow(StreamError);
    expect(() => reader.push(HEADER)).toThrow(message);
    expect(() => reader.end()).toThrow(message);
  });

  test("after a recovery an offset that no block has is an error too", () => {
    const { error } = readStream(Buffer.concat([Buffer.of(2), be32(2), Buffer.alloc(7, 255), Buffer.of(0xf8)]), {
      from: "top",
    });
    expect(error).not.toBeNull();
  });

  /** Damages at random places: a byte set, bytes taken out, bytes put in. */
  const damages = fc.array(
    fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), out: fc.nat(9), put: fc.uint8Array({ maxLength: 9 }) }),
    { minLength: 1, maxLength: 4 },
  );

  function checkRead(stream: Buffer, from: "header" | "top", chunks: number[]): void {
    const read = readStream(stream, { from, chunks });
    expect(read.raw.equals(stream.subarray(0, read.raw.length))).toBe(true);
    if (read.error === null) expect(read.raw.length).toBe(stream.length);
    else {
      expect(read.error.offset).toBeGreaterThanOrEqual(read.raw.length);
      expect(read.error.offset).toBeLessThanOrEqual(stream.length);
    }
    expect(read.held_most).toBeLessThanOrEqual(stream.length);
    expect(isSame(readStream(stream, { from }), read)).toBe(true);
  }

  test("a damaged stream is records and then an error, the same in any pieces", () => {
    for (const { from, stream } of [...SHORT, { from: "header" as const, stream: small }]) {
      fc.assert(
        fc.property(damages, chunkings, (damages, chunks) => {
          let damaged = stream;
          for (const { at, out, put } of damages) {
            const place = Math.floor(at * damaged.length);
            damaged = Buffer.concat([damaged.subarray(0, place), put, damaged.subarray(place + out)]);
          }
          checkRead(damaged, from, chunks);
        }),
        { numRuns: stream === small ? 1000 : 40 },
      );
    }
  });

  test("garbage is records and then an error, the same in any pieces", () => {
    const garbage = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.constantFrom(0, 1, 2, 3, 4, 6, 7, 8, 0x0a, 0x10, 0x20, 0x7e), { maxLength: 300 }),
    );
    const heads = fc.constantFrom(Buffer.alloc(0), HEADER, BEGINNING, ram());
    fc.assert(
      fc.property(heads, garbage, chunkings, fc.constantFrom("header", "top"), (head, bytes, chunks, from) =>
        checkRead(Buffer.concat([head, Buffer.from(bytes)]), from, chunks),
      ),
      { numRuns: 3000 },
    );
  });

  test("a stream without end never makes the reader hold more than its bounds", () => {
    const most = Math.max(BOUNDS.packaged, BOUNDS.description, BOUNDS.deviceSection);
    const chunk_bytes = 4 * MIB;
    const heads = [
      Buffer.concat([HEADER, command(COMMAND.packaged, be32(BOUNDS.packaged))]),
      Buffer.concat([HEADER, Buffer.of(6), be32(BOUNDS.description)]),
      Buffer.concat([HEADER, Buffer.of(4), be32(1), counted("x"), be32(0), be32(1)]),
      Buffer.concat([HEADER, Buffer.of(1), be32(1), counted("ram"), be32(0), be32(4), be64(2 ** 52 + 4)]),
      ram(),
      BEGINNING,
      HEADER,
    ];
    for (const head of heads) {
      for (const fill of [0, 1, 2, 4, 8, 0x7e, 255]) {
        const reader = new StreamReader(() => undefined);
        const chunk = Buffer.alloc(chunk_bytes, fill);
        let error: unknown;
        try {
          reader.push(head);
          for (let fed = 0; fed < 3 * most; fed += chunk_bytes) {
            reader.push(chunk);
            expect(reader.held_bytes).toBeLessThanOrEqual(most + chunk_bytes);
          }
        } catch (thrown) {
          error = thrown;
        }
        expect(error).toBeInstanceOf(StreamError);
      }
    }
  });
});
