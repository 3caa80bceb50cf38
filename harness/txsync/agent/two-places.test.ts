import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TwoPlaces, type WriteAt } from "./two-places.ts";

let root: string;
let folders = 0;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "two-places-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const newFolder = (): string => mkdtempSync(join(root, `${++folders}-`));
const RESERVE_BYTES = 4096;
const full = (): Error => Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });

/** A life of whoever keeps something there. */
function open(folder: string, write?: WriteAt): { places: TwoPlaces; found: string[] | undefined } {
  const places = new TwoPlaces(folder, "state", RESERVE_BYTES, write);
  const found = places.load();
  return { places, found: found && [found.content, ...found.pieces].map((bytes) => bytes.toString("latin1")) };
}

describe("small state in two places", () => {
  it("is nothing at first, and then what was written last with what was added to it", () => {
    const folder = newFolder();
    expect(open(folder).found).toBeUndefined();
    const { places } = open(folder);
    places.add(Buffer.from("alone"));
    expect(open(folder).found).toEqual(["", "alone"]);
    places.replace(Buffer.from("one"));
    places.add(Buffer.from("two"));
    expect(places.added_bytes).toBe(3);
    expect(open(folder).found).toEqual(["one", "two"]);
    const next = open(folder).places;
    next.add(Buffer.from("three"));
    expect(open(folder).found).toEqual(["one", "two", "three"]);
    next.replace(Buffer.from("four"));
    expect(next.added_bytes).toBe(0);
    expect(open(folder).found).toEqual(["four"]);
  });

  it("is whole wherever any of its writes stops, and with whatever the file system says", () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 6_000 });
    const steps = fc.record({
      do: fc.constantFrom("replace" as const, "add" as const),
      bytes,
      /** Of the write, what is done before it fails; undefined: all of it, and it does not. */
      fails: fc.option(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { nil: undefined, freq: 3 }),
      /** A new life afterwards. */
      again: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 25 }), (all) => {
        const folder = newFolder();
        let fails: number | undefined;
        const write: WriteAt = (fd, data, offset, length, position) => {
          if (fails === undefined) return writeSync(fd, data, offset, length, position);
          const part = Math.floor(length * fails);
          fails = 0;
          if (part === 0) throw full();
          return writeSync(fd, data, offset, part, position);
        };
        let { places } = open(folder, write);
        let want: string[] | undefined;
        for (const step of all) {
          const text = Buffer.from(step.bytes).toString("latin1");
          fails = step.fails;
          let written = true;
          try {
            if (step.do === "replace") places.replace(step.bytes);
            else places.add(step.bytes);
          } catch (error) {
            expect(String(error)).toMatch(/ENOSPC/);
            expect(fails).toBeDefined();
            written = false;
          }
          fails = undefined;
          if (written) want = step.do === "replace" ? [text] : [...(want ?? [""]), text];
          if (step.again) places = open(folder, write).places;
        }
        const { found } = open(folder);
        // Nothing was ever written whole, or an empty content before a piece that failed.
        expect(found ?? [""]).toEqual(want ?? [""]);
        rmSync(folder, { recursive: true });
      }),
      { numRuns: 300 },
    );
  });

  it("takes for written what stands there whole, though its write failed: what was left to write stood there before", () => {
    const folder = newFolder();
    let most: number | undefined;
    const write: WriteAt = (fd, data, offset, length, position) => {
      if (most === undefined) return writeSync(fd, data, offset, length, position);
      const part = Math.min(length, most);
      most -= part;
      if (part === 0) throw full();
      return writeSync(fd, data, offset, part, position);
    };
    const { places } = open(folder, write);
    places.replace(Buffer.from("a"));
    // Only the head of the next content comes to the file, where its one zero is already.
    most = 16;
    places.replace(Buffer.alloc(1));
    most = undefined;
    places.add(Buffer.from("piece"));
    expect(open(folder).found).toEqual(["\u0000", "piece"]);
    most = 8;
    places.add(Buffer.alloc(1));
    most = undefined;
    expect(open(folder).found).toEqual(["\u0000", "piece", "\u0000"]);
    most = 15;
    expect(() => places.replace(Buffer.from("b"))).toThrow(/ENOSPC/);
    most = undefined;
    places.add(Buffer.from("goes on"));
    expect(open(folder).found).toEqual(["\u0000", "piece", "\u0000", "goes on"]);
  });

  it("needs no room for what is not longer than it was made for", () => {
    const folder = newFolder();
    let room = true;
    const write: WriteAt = (fd, data, offset, length, position) => {
      if (!room && position + length > RESERVE_BYTES) throw full();
      return writeSync(fd, data, offset, length, position);
    };
    const { places } = open(folder, write);
    room = false;
    for (let i = 0; i < 100; i += 1) places.replace(Buffer.alloc(4_000, i));
    expect(() => places.replace(Buffer.alloc(5_000))).toThrow(/ENOSPC/);
    expect(open(folder).found).toEqual([Buffer.alloc(4_000, 99).toString("latin1")]);
    room = true;
    places.replace(Buffer.alloc(50_000, 1));
    places.replace(Buffer.from("short"));
    // What was long gives its room back.
    expect(["state.0", "state.1"].map((name) => statSync(join(folder, name)).size)).toEqual([4096, 4096]);
    expect(open(folder).found).toEqual(["short"]);
  });

  it("can be opened where nothing can be made, and is written once it can", () => {
    const folder = newFolder();
    let room = false;
    const write: WriteAt = (fd, data, offset, length, position) => {
      if (!room) throw full();
      return writeSync(fd, data, offset, length, position);
    };
    const { places, found } = open(folder, write);
    expect(found).toBeUndefined();
    expect(() => places.replace(Buffer.from("no"))).toThrow(/ENOSPC/);
    room = true;
    places.replace(Buffer.from("yes"));
    expect(open(folder).found).toEqual(["yes"]);
  });

  it("does not take for its own what is of an earlier turn, or damaged", () => {
    const folder = newFolder();
    const { places } = open(folder);
    places.replace(Buffer.from("same size"));
    for (const piece of ["aaaa", "bbbb", "cccc"]) places.add(Buffer.from(piece));
    places.replace(Buffer.from("other one"));
    places.replace(Buffer.from("same size"));
    expect(open(folder).found).toEqual(["same size"]);
    for (const name of ["state.0", "state.1"]) {
      const path = join(folder, name);
      const bytes = readFileSync(path);
      bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
      writeFileSync(path, bytes);
    }
    expect(open(folder).found).toBeUndefined();
  });
});
