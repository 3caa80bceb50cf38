import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UserError } from "../../base/errors.ts";
import { frameNumber } from "../core/index.ts";
import { decodePackage, encodePackage, loadPackage, type Package, savePackage } from "./kept-package.ts";
import { orderedRuns, packRuns } from "./testing/runs.ts";

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "package-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const bytes = (minLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength, maxLength: 300 }).map((array) => Buffer.from(array));
const packages: fc.Arbitrary<Package> = fc.record(
  {
    base: fc.string({ maxLength: 64 }),
    machine: fc.string({ maxLength: 256 }),
    ram_section_id: fc.maxSafeInteger(),
    blocks: fc.array(
      fc.record(
        { name: fc.string({ maxLength: 20, unit: "grapheme" }), bytes: fc.nat(2 ** 40) },
        { noNullPrototype: true },
      ),
    ),
    bytes_per_s: fc.nat(2 ** 40),
    ahead: fc.record(
      {
        base: fc.string({ maxLength: 64 }),
        stale: fc.dictionary(fc.constantFrom("ram0", "pc.bios"), orderedRuns.map(packRuns), { noNullPrototype: true }),
        frames: fc.nat(),
      },
      { noNullPrototype: true },
    ),
    preamble: bytes(0),
    packaged: bytes(1),
  },
  {
    noNullPrototype: true,
    requiredKeys: ["base", "machine", "ram_section_id", "blocks", "bytes_per_s", "preamble", "packaged"],
  },
);
const SAMPLE: Package = {
  base: "b",
  machine: "pc-q35-7.2",
  ram_section_id: 2,
  blocks: [{ name: "ram0", bytes: 4096 }],
  bytes_per_s: 0,
  preamble: Buffer.from("before"),
  packaged: Buffer.from("package"),
};

function refused(what: Buffer): void {
  expect(() => decodePackage(what)).toThrow(UserError);
}

describe("a package on its way", () => {
  it("comes out as it went in", () => {
    fc.assert(
      fc.property(packages, (what) => {
        expect(decodePackage(Buffer.concat(encodePackage(what)))).toEqual(what);
      }),
    );
  });

  it("brings along what a protected VM had put out, and what its base is made of", () => {
    const frames = [{ number: frameNumber(7), channel: 1, bytes: Buffer.from([0, 255, 10]) }];
    const what = { ...SAMPLE, follows: { base: "a", generation: 2, n: 9 }, frames };
    expect(decodePackage(Buffer.concat(encodePackage(what)))).toEqual(what);
  });

  it("does not hold on to the bytes that it came with", () => {
    const whole = Buffer.concat(encodePackage(SAMPLE));
    const decoded = decodePackage(whole);
    whole.fill(0);
    expect(decoded).toEqual(SAMPLE);
  });

  it("is refused when it is cut before its last part, and as garbage, for whoever reads the error", () => {
    const whole = Buffer.concat(encodePackage(SAMPLE));
    for (let cut = 0; cut <= whole.length - SAMPLE.packaged.length; cut += 1) refused(whole.subarray(0, cut));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (garbage) => refused(Buffer.from(garbage))));
    refused(Buffer.alloc(1000, 255));
  });

  it("is refused when its head makes no sense", () => {
    const { preamble, packaged, ...head } = SAMPLE;
    const bad = [
      { ...head, preamble_bytes: -1 },
      { ...head, preamble_bytes: 2 ** 40 },
      { ...head, preamble_bytes: preamble.length, more: 1 },
      { ...head, preamble_bytes: preamble.length, blocks: [{ name: "ram0", bytes: -4096 }] },
      { ...head, preamble_bytes: preamble.length, bytes_per_s: "fast" },
      [],
      null,
    ];
    for (const each of bad) {
      const json = Buffer.from(JSON.stringify(each));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(json.length);
      refused(Buffer.concat([length, json, preamble, packaged]));
    }
  });
});

describe("a package that is kept", () => {
  it("is found again as it was, and is not where there is none", () => {
    const empty = mkdtempSync(join(root, "empty-"));
    expect(loadPackage(empty)).toBeUndefined();
    fc.assert(
      fc.property(packages, fc.array(bytes(0), { maxLength: 3 }), (what, contents) => {
        const small = contents.map((content, i) => ({ name: `block ${i}`, content }));
        savePackage(root, { package: what, small });
        const found = loadPackage(root);
        expect(found).toEqual({ package: what, small });
        expect(Buffer.isBuffer(found?.package.packaged)).toBe(true);
        expect(found?.small.every(({ content }) => Buffer.isBuffer(content))).toBe(true);
      }),
    );
    // An agent that died while it wrote leaves what was there before.
    writeFileSync(join(root, "package.new"), "half");
    expect(loadPackage(root)).toBeDefined();
    rmSync(join(root, "package"));
    expect(loadPackage(root)).toBeUndefined();
  });
});
