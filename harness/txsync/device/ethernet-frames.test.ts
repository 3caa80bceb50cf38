import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ETHERNET_FRAME_BYTES_MAX, EthernetCutter, encodeEthernet } from "./ethernet-frames.ts";

describe("Ethernet frames on a stream", () => {
  it("come out as they went in, however the stream is cut", () => {
    const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 80 }), { maxLength: 8 });
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 12 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.map(encodeEthernet));
        const cutter = new EthernetCutter();
        const came: Buffer[] = [];
        let at = 0;
        for (const length of [...cuts, stream.length]) {
          came.push(...cutter.push(stream.subarray(at, at + length)));
          at += length;
        }
        expect(came.map((frame) => [...frame])).toEqual(sent.map((frame) => [...frame]));
      }),
    );
  });

  it("that cannot be are refused: nothing behind them can be read", () => {
    for (const length of [0, ETHERNET_FRAME_BYTES_MAX + 1]) {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(length);
      expect(() => new EthernetCutter().push(head)).toThrow(RangeError);
    }
  });
});
