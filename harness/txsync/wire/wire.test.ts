import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { frameNumber, GENESIS, generation, type Message, transactionNumber } from "../core/index.ts";
import { crc32c } from "./crc32c.ts";
import { type Frame, FrameDecoder, FrameEncoder, type FrameType, WireError } from "./frame.ts";
import { Handshake, type HandshakeOptions, type Session } from "./handshake.ts";
import { decodeMessage, encodeMessage } from "./message.ts";

const key = Buffer.alloc(32, 7);

function secured(): { encoder: FrameEncoder; decoder: FrameDecoder } {
  const encoder = new FrameEncoder();
  const decoder = new FrameDecoder();
  encoder.secure(key);
  decoder.secure(key);
  return { encoder, decoder };
}

function drain(decoder: FrameDecoder): Frame[] {
  const frames: Frame[] = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) frames.push(frame);
  return frames;
}

describe("crc32c", () => {
  it("gives the values of RFC 3720 B.4", () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))).toBe(0x46dd794e);
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  });

  it("is the same in one go and in pieces", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, at) => {
        const cut = Math.min(at, bytes.length);
        expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(crc32c(bytes));
      }),
    );
  });
});

describe("frames", () => {
  const payloads = fc.array(
    fc.record({
      type: fc.constantFrom<FrameType>("message", "data"),
      payload: fc.uint8Array({ maxLength: 300 }),
    }),
    { maxLength: 6 },
  );

  it("come out as they went in, cut anywhere", () => {
    fc.assert(
      fc.property(
        payloads,
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 }),
        (sent, cuts) => {
          const { encoder, decoder } = secured();
          const stream = Buffer.concat(sent.flatMap(({ type, payload }) => encoder.encode(type, [payload])));
          const got: Frame[] = [];
          for (let at = 0, i = 0; at < stream.length; i += 1) {
            const step = cuts[i % cuts.length] ?? 1;
            decoder.push(stream.subarray(at, at + step));
            at += step;
            got.push(...drain(decoder));
          }
          decoder.end();
          expect(got.map(({ type, payload }) => ({ type, payload: [...payload] }))).toEqual(
            sent.map(({ type, payload }) => ({ type, payload: [...payload] })),
          );
        },
      ),
    );
  });

  it("are refused when the stream ends within one, at every byte", () => {
    const whole = Buffer.concat(secured().encoder.encode("data", [Buffer.from("hello")]));
    for (let cut = 1; cut < whole.length; cut += 1) {
      const { decoder } = secured();
      decoder.push(whole.subarray(0, cut));
      expect(drain(decoder)).toEqual([]);
      expect(() => decoder.end()).toThrow(WireError);
    }
  });

  it("are refused when any single bit is wrong", () => {
    const whole = Buffer.concat(secured().encoder.encode("data", [Buffer.from("hello")]));
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const bad = Buffer.from(whole);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const { decoder } = secured();
      decoder.push(bad);
      // A longer length only waits for more; then the stream ends.
      expect(() => {
        expect(drain(decoder)).toEqual([]);
        decoder.end();
      }).toThrow(WireError);
    }
  });

  it("are refused when replayed, left out or put in another order", () => {
    const encoder = secured().encoder;
    const [a, b] = ["one", "two"].map((text) => Buffer.concat(encoder.encode("data", [Buffer.from(text)])));
    if (a === undefined || b === undefined) throw new Error("two frames expected");
    for (const order of [[a, a], [b], [b, a]]) {
      const { decoder } = secured();
      decoder.push(Buffer.concat(order));
      expect(() => drain(decoder)).toThrow(/not authentic/);
    }
  });

  it("give an error with its place for garbage, and hold nothing after it", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: 400 }), (garbage) => {
        const decoder = new FrameDecoder();
        decoder.push(Buffer.from(garbage));
        try {
          drain(decoder);
          decoder.end();
          throw new Error("garbage was taken for frames");
        } catch (error) {
          expect(error).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it("may carry nothing but a handshake before it is done, and nothing that is too long", () => {
    const plain = new FrameDecoder();
    plain.push(Buffer.concat(new FrameEncoder().encode("message", [Buffer.alloc(4)])));
    expect(() => plain.next()).toThrow(/before the handshake/);
    const header = Buffer.from([0x46, 0x79, 1, 4, 0xff, 0xff, 0xff, 0xff]);
    const { decoder } = secured();
    decoder.push(header);
    expect(() => decoder.next()).toThrow(/more than/);
  });
});

describe("handshake", () => {
  const secret = Buffer.alloc(32, 1);
  const migration = Buffer.alloc(16, 2);

  function meet(a: HandshakeOptions, b: HandshakeOptions): [Session, Session] {
    const left = new Handshake(a);
    const right = new Handshake(b);
    const authOf = (hand: Handshake, hello: Buffer): Buffer => {
      const answer = hand.receive({ type: "hello", payload: hello });
      if (!("auth" in answer)) throw new Error("auth expected");
      return answer.auth;
    };
    const leftAuth = authOf(left, right.hello());
    const rightAuth = authOf(right, left.hello());
    const sessionOf = (hand: Handshake, auth: Buffer): Session => {
      const answer = hand.receive({ type: "auth", payload: auth });
      if (!("session" in answer)) throw new Error("session expected");
      return answer.session;
    };
    return [sessionOf(left, rightAuth), sessionOf(right, leftAuth)];
  }

  it("gives both sides the same keys, one for each direction, new every time", () => {
    const one = meet({ role: "source", secret, migration }, { role: "escrow", secret, migration });
    expect(one[0].sendKey).toEqual(one[1].receiveKey);
    expect(one[0].receiveKey).toEqual(one[1].sendKey);
    expect(one[0].sendKey).not.toEqual(one[0].receiveKey);
    expect(one.map(({ peer }) => peer)).toEqual(["escrow", "source"]);
    const other = meet({ role: "source", secret, migration }, { role: "escrow", secret, migration });
    expect(other[0].sendKey).not.toEqual(one[0].sendKey);
  });

  it("refuses who does not know the secret, who is of another migration, who is not who was expected, and itself", () => {
    const good: HandshakeOptions = { role: "source", secret, migration };
    expect(() => meet(good, { role: "escrow", secret: Buffer.alloc(32, 9), migration })).toThrow(
      /does not know the secret/,
    );
    expect(() => meet(good, { role: "escrow", secret, migration: Buffer.alloc(16, 9) })).toThrow(/another migration/);
    expect(() => meet({ ...good, peer: "target" }, { role: "escrow", secret, migration })).toThrow(
      /where target should be/,
    );
    expect(() => meet(good, good)).toThrow(/wrong role/);
  });

  it("refuses a proof that is reflected or of an earlier meeting", () => {
    const left = new Handshake({ role: "source", secret, migration });
    const right = new Handshake({ role: "escrow", secret, migration });
    const own = left.receive({ type: "hello", payload: right.hello() });
    if (!("auth" in own)) throw new Error("auth expected");
    expect(() => left.receive({ type: "auth", payload: own.auth })).toThrow(/does not know/);
    const earlier = new Handshake({ role: "escrow", secret, migration }).receive({
      type: "hello",
      payload: left.hello(),
    });
    if (!("auth" in earlier)) throw new Error("auth expected");
    expect(() => left.receive({ type: "auth", payload: earlier.auth })).toThrow(/does not know/);
  });
});

describe("messages", () => {
  const append: Message = {
    kind: "append",
    generation: generation(1),
    n: transactionNumber(3),
    since: "base",
    mark: frameNumber(4),
    acked: frameNumber(2),
  };

  it("come out as they went in, with their body", () => {
    const body = Buffer.from("record");
    const asked: Message = { kind: "ask", pre: true, descriptor: GENESIS, attempt: 12.5 };
    expect(decodeMessage(Buffer.concat(encodeMessage(append, [body])))).toEqual({ message: append, body });
    expect(decodeMessage(Buffer.concat(encodeMessage(asked))).message).toEqual(asked);
  });

  it("are refused when cut, unknown, out of range, with fields too many or a body that has no place", () => {
    const whole = Buffer.concat(encodeMessage(append));
    for (let cut = 0; cut < whole.length; cut += 1)
      expect(() => decodeMessage(whole.subarray(0, cut))).toThrow(WireError);
    const bad = [
      { ...append, kind: "hurry" },
      { ...append, n: -1 },
      { ...append, extra: 1 },
      { ...append, since: 1.5 },
    ];
    for (const message of bad) {
      expect(() => decodeMessage(Buffer.concat(encodeMessage(message as unknown as Message)))).toThrow(WireError);
    }
    expect(() =>
      decodeMessage(Buffer.concat(encodeMessage({ kind: "cancel", attempt: 1 }, [Buffer.from("x")]))),
    ).toThrow(/with a body/);
  });
});
