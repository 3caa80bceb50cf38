import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { frameNumber, GENESIS, generation, type Message, SWITCHOVER, transactionNumber } from "../core/index.ts";
import { BufferPool } from "./buffer-pool.ts";
import { channelHello, readChannel } from "./channel.ts";
import {
  FRAMES_MAX,
  type Frame,
  FrameDecoder,
  FrameEncoder,
  type FrameType,
  LENGTH_MAX,
  WIRE_VERSION,
  WireError,
} from "./frame.ts";
import { Handshake, type HandshakeOptions, type Session } from "./handshake.ts";
import { LogLimit } from "./log-limit.ts";
import { BODY_MAX, decodeMessage, encodeMessage } from "./message.ts";

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

  it("come out as they went in, whatever becomes of the memory in which they came", () => {
    const long = fc.array(fc.integer({ min: 0, max: 3000 }), { maxLength: 6 });
    fc.assert(
      fc.property(long, fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1 }), fc.nat(3), (sent, cuts, idle) => {
        const { encoder } = secured();
        const decoder = new FrameDecoder({ buffers: new BufferPool(4096, 2) });
        decoder.secure(Buffer.alloc(32, 7));
        const payloads = sent.map((length, i) => Buffer.alloc(length, i + 1));
        const stream = Buffer.concat(payloads.flatMap((payload) => encoder.encode("data", [payload])));
        const memory = Buffer.alloc(1000);
        const got: Frame[] = [];
        for (let at = 0, i = 0; at < stream.length; i += 1) {
          const step = cuts[i % cuts.length] ?? 1;
          const count = stream.copy(memory, 0, at, at + step);
          at += count;
          decoder.push(memory.subarray(0, count));
          // Whoever takes them may be busy: then they wait.
          if (i % 4 !== idle) got.push(...drain(decoder));
          decoder.keep();
          memory.fill(0xee);
        }
        got.push(...drain(decoder));
        decoder.end();
        expect(got.map(({ payload }) => payload)).toEqual(payloads);
      }),
    );
  });

  it("go with their long pieces as they are, and their short ones beside the head", () => {
    const { encoder, decoder } = secured();
    const long = Buffer.alloc(100_000, 1);
    const pieces = encoder.encode("data", [Buffer.of(1), Buffer.of(2), long, Buffer.of(3)]);
    expect(pieces.map(({ length }) => length)).toEqual([10, 100_000, 1, 16]);
    expect(pieces[1]).toBe(long);
    decoder.push(Buffer.concat(pieces));
    expect(drain(decoder)[0]?.payload).toEqual(Buffer.concat([Buffer.of(1, 2), long, Buffer.of(3)]));
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

  it.each([
    { when: "once there is a key", type: "data", begun: secured },
    {
      when: "while there is none",
      type: "hello",
      begun: () => ({ encoder: new FrameEncoder(), decoder: new FrameDecoder() }),
    },
  ] as const)("are refused when any single bit is wrong, $when", ({ type, begun }) => {
    const whole = Buffer.concat(begun().encoder.encode(type, [Buffer.from("hello")]));
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const bad = Buffer.from(whole);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const { decoder } = begun();
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

  it("are refused with their place when one field of a good one is another, and nothing is held after it", () => {
    // Magic, version, type, length, payload, mac: whatever stands there.
    const field = fc.constantFrom([0, 2], [2, 1], [3, 1], [4, 4], [8, 5], [13, 16] as const);
    const stream = fc.array(fc.constantFrom<FrameType>("message", "data"), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        stream,
        fc.nat(3),
        field,
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        (types, which, at, other) => {
          const { encoder, decoder } = secured();
          const frames = types.map((type) => Buffer.concat(encoder.encode(type, [Buffer.from("hello")])));
          const bad = which % frames.length;
          const [from = 0, length = 0] = at;
          const frame = frames[bad] as Buffer;
          const before = frame.subarray(from, from + length);
          fc.pre(!before.equals(other.subarray(0, length)));
          before.set(other.subarray(0, length));
          decoder.limit(64 * 1024);
          decoder.push(Buffer.concat(frames));
          let got = 0;
          try {
            while (decoder.next() !== undefined) got += 1;
            // A longer length only waits for more; then the stream ends.
            decoder.end();
            throw new Error("it was taken for a frame");
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
            expect((error as WireError).offset).toBe(bad * frame.length);
          }
          expect(got).toBe(bad);
          // From then on for ever, however good what comes is.
          decoder.push(Buffer.concat(frames));
          if (from !== 4) expect(() => decoder.next()).toThrow(WireError);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("swallow no more than their channel needs when a bit of the length flips", () => {
    const word = Buffer.alloc(100, 1);
    for (let bit = 0; bit < 32; bit += 1) {
      const { encoder, decoder } = secured();
      decoder.limit(64 * 1024);
      const stream = Array.from({ length: 1000 }, () => Buffer.concat(encoder.encode("data", [word])));
      const broken = stream[0] as Buffer;
      broken[4 + (bit >> 3)] = (broken[4 + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      let pushed = 0;
      expect(() => {
        for (const frame of stream) {
          decoder.push(frame);
          pushed += frame.length;
          expect(drain(decoder)).toEqual([]);
        }
      }, `bit ${bit}`).toThrow(WireError);
      expect(pushed).toBeLessThanOrEqual(64 * 1024 + 300);
    }
  });

  it("are as long as their channel allows, and no longer than their type does", () => {
    const { encoder, decoder } = secured();
    decoder.limit(1000);
    decoder.push(Buffer.concat(encoder.encode("data", [Buffer.alloc(1000)])));
    expect(decoder.next()?.payload.length).toBe(1000);
    decoder.push(Buffer.concat(encoder.encode("data", [Buffer.alloc(1001)])));
    expect(() => decoder.next()).toThrow(/1001 bytes, more than 1000/);
    for (const type of ["message", "data"] as const) {
      expect(() => encoder.encode(type, [Buffer.alloc(LENGTH_MAX[type] + 1)])).toThrow(RangeError);
    }
  });

  it("never have a number twice under one key", () => {
    const { encoder, decoder } = secured();
    expect(() => encoder.secure(key)).toThrow(/its key already/);
    expect(() => decoder.secure(key)).toThrow(/its key already/);
    const last = { encoder: new FrameEncoder(), decoder: new FrameDecoder() };
    last.encoder.secure(key, { number: FRAMES_MAX - 1 });
    last.decoder.secure(key, { number: FRAMES_MAX - 1 });
    const frame = Buffer.concat(last.encoder.encode("data", [Buffer.from("the last one")]));
    last.decoder.push(Buffer.concat([frame, frame]));
    expect(last.decoder.next()?.payload.toString()).toBe("the last one");
    expect(() => last.decoder.next()).toThrow(/more frames than the key allows/);
    expect(() => last.encoder.encode("data", [Buffer.alloc(1)])).toThrow(/all frames that its key allows/);
  });

  it("may carry nothing but a handshake before it is done, and nothing that is too long", () => {
    const plain = new FrameDecoder();
    plain.push(Buffer.concat(new FrameEncoder().encode("message", [Buffer.alloc(4)])));
    expect(() => plain.next()).toThrow(/before the handshake/);
    const header = Buffer.from([0x46, 0x79, WIRE_VERSION, 4, 0xff, 0xff, 0xff, 0xff]);
    const { decoder } = secured();
    decoder.push(header);
    expect(() => decoder.next()).toThrow(/more than/);
  });
});

describe("handshake", () => {
  const secretOf = (): Buffer => Buffer.alloc(32, 1);
  const migration = Buffer.alloc(16, 2);

  type Who = Omit<HandshakeOptions, "side"> & Partial<Pick<HandshakeOptions, "side">>;

  function meet(a: Who, b: Who): [Session, Session] {
    const left = new Handshake({ side: "initiator", ...a });
    const right = new Handshake({ side: "acceptor", ...b });
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
    const one = meet({ role: "source", secretOf, migration }, { role: "escrow", secretOf, migration });
    expect(one[0].sendKey).toEqual(one[1].receiveKey);
    expect(one[0].receiveKey).toEqual(one[1].sendKey);
    expect(one[0].sendKey).not.toEqual(one[0].receiveKey);
    expect(one.map(({ peer }) => peer)).toEqual(["escrow", "source"]);
    const other = meet({ role: "source", secretOf, migration }, { role: "escrow", secretOf, migration });
    expect(other[0].sendKey).not.toEqual(one[0].sendKey);
  });

  it("refuses who does not know the secret, who is of another migration, who is not who was expected, and itself", () => {
    const good: Who = { role: "source", secretOf, migration };
    expect(() => meet(good, { role: "escrow", secretOf: () => Buffer.alloc(32, 9), migration })).toThrow(
      /does not know the secret/,
    );
    expect(() => meet(good, { role: "escrow", secretOf, migration: Buffer.alloc(16, 9) })).toThrow(/another migration/);
    expect(() => meet({ ...good, peer: "target" }, { role: "escrow", secretOf, migration })).toThrow(
      /where target should be/,
    );
    expect(() => meet(good, good)).toThrow(/wrong role/);
  });

  it("refuses to be joined with another that was made as well, or taken as well", () => {
    for (const side of ["initiator", "acceptor"] as const) {
      const [source, target] = [
        { role: "source", side, secretOf, migration },
        { role: "target", side, secretOf, migration },
      ] as const;
      expect(() => meet(source, target)).toThrow(/does not know the secret/);
    }
  });

  it("refuses a proof that is reflected or of an earlier meeting", () => {
    const left = new Handshake({ role: "source", side: "initiator", secretOf, migration });
    const right = new Handshake({ role: "escrow", side: "acceptor", secretOf, migration });
    const own = left.receive({ type: "hello", payload: right.hello() });
    if (!("auth" in own)) throw new Error("auth expected");
    expect(() => left.receive({ type: "auth", payload: own.auth })).toThrow(/does not know/);
    const earlier = new Handshake({ role: "escrow", side: "acceptor", secretOf, migration }).receive({
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

  const sent: Message = {
    kind: "package",
    descriptor: SWITCHOVER,
    n: transactionNumber(0),
    mark: frameNumber(4),
    acked: frameNumber(2),
  };

  it("come out as they went in, with their body", () => {
    const body = Buffer.from("device state");
    const asked: Message = { kind: "ask", pre: true, descriptor: GENESIS, attempt: 12.5 };
    expect(decodeMessage(Buffer.concat(encodeMessage(sent, [body])))).toEqual({ message: sent, body });
    expect(decodeMessage(Buffer.concat(encodeMessage(append))).message).toEqual(append);
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
    // A record's bytes go as data, in pieces; a word that brings them is nobody's.
    for (const message of [append, { kind: "cancel", attempt: 1 }] as const)
      expect(() => decodeMessage(Buffer.concat(encodeMessage(message, [Buffer.from("x")])))).toThrow(/with a body/);
    expect(() => encodeMessage(sent, [Buffer.alloc(BODY_MAX), Buffer.alloc(1)])).toThrow(/more than the/);
  });
});

describe("a channel", () => {
  it("is one of those that are known", () => {
    const named = (payload: string, type: FrameType = "data"): string =>
      readChannel({ type, payload: Buffer.from(payload) }, ["words", "bulk"]);
    expect(named(channelHello("bulk").toString())).toBe("bulk");
    for (const other of ["", "word", "words ", "a".repeat(100_000)]) expect(() => named(other)).toThrow(/nobody knows/);
    expect(() => named("words", "message")).toThrow(/where the channel should be named/);
  });
});

describe("a limited log", () => {
  it("says so many lines in a time, and then how many it kept", () => {
    const limit = new LogLimit({ lines: 2, per_ms: 1000 });
    const said = [0, 10, 20, 999, 1000, 1001, 5000].map((now_ms) => limit.say(`at ${now_ms}`, now_ms));
    expect(said).toEqual(["at 0", "at 10", null, null, "at 1000 (and 2 lines like it before)", "at 1001", "at 5000"]);
  });
});
