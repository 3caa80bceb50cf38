import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeFrame, FRAME_BYTES_MAX, type Frame, FrameDecoder } from "./ledger-frames.ts";

const uint8 = fc.nat(255);
const uint32 = fc.integer({ min: 0, max: 0xffffffff });
const anyFrame: fc.Arbitrary<Frame> = fc.record({
  version: uint8,
  kind: uint8,
  cpu: uint8,
  client: uint32,
  client_seq: uint32,
  guest_seq: uint32,
  payload: fc.array(uint32, { maxLength: 16 }),
});
/** Bytes that hold no start of a frame. */
const garbage = fc.uint8Array({ maxLength: 40 }).map((bytes) => bytes.map((byte) => (byte === 0x46 ? 0 : byte)));

describe("ledger frames", () => {
  it("come out as they went in, at every cut point", () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const bytes = encodeFrame(frame);
        for (let cut = 0; cut <= bytes.length; cut++) {
          const decoder = new FrameDecoder();
          const first = decoder.push(bytes.subarray(0, cut));
          expect([...first, ...decoder.push(bytes.subarray(cut))]).toEqual([frame]);
          expect(decoder.skipped_bytes).toBe(0);
        }
      }),
      { numRuns: 30 },
    );
  });

  it("are found among garbage, however the bytes arrive", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(garbage, anyFrame), { maxLength: 6 }),
        fc.integer({ min: 1, max: 50 }),
        (parts, size) => {
          const bytes = Buffer.concat(parts.flatMap(([noise, frame]) => [noise, encodeFrame(frame)]));
          const decoder = new FrameDecoder();
          const found: Frame[] = [];
          for (let at = 0; at < bytes.length; at += size) found.push(...decoder.push(bytes.subarray(at, at + size)));
          expect(found).toEqual(parts.map(([, frame]) => frame));
          expect(decoder.skipped_bytes).toBe(parts.reduce((sum, [noise]) => sum + noise.length, 0));
        },
      ),
    );
  });

  it("with a damaged byte are never taken for a frame, and the next one is found", () => {
    fc.assert(
      fc.property(anyFrame, anyFrame, fc.nat(), fc.integer({ min: 1, max: 255 }), (damaged, next, at, by) => {
        const bytes = encodeFrame(damaged);
        const place = at % bytes.length;
        bytes.writeUInt8((bytes[place] ?? 0) ^ by, place);
        const decoder = new FrameDecoder();
        const found = decoder.push(Buffer.concat([bytes, encodeFrame(next), Buffer.alloc(FRAME_BYTES_MAX)]));
        expect(found).toEqual([next]);
      }),
    );
  });

  it("refuse a payload that is too long", () => {
    const frame = { version: 1, kind: 1, cpu: 0, client: 0, client_seq: 0, guest_seq: 0 };
    expect(() => encodeFrame({ ...frame, payload: Array.from({ length: 17 }, () => 0) })).toThrow(RangeError);
  });
});
