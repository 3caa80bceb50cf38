import { type Duplex, duplexPair } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import { LedgerClient, LedgerRefusedError, LedgerUnknownError } from "./ledger-client.ts";
import { ANSWER_BIT, encodeFrame, type Frame, FrameDecoder, KIND_REFUSED } from "./ledger-frames.ts";

/** A client whose other end is a function from request to answers (a guest in small). */
function clientOf(answer: (request: Frame) => Frame[] | Buffer): { client: LedgerClient; far: Duplex } {
  const [near, far] = duplexPair();
  const decoder = new FrameDecoder();
  far.on("data", (bytes: Buffer) => {
    for (const request of decoder.push(bytes)) {
      if (far.writableEnded) return;
      const answers = answer(request);
      far.write(Buffer.isBuffer(answers) ? answers : Buffer.concat(answers.map(encodeFrame)));
    }
  });
  return { client: new LedgerClient(near, { client: 7 }), far };
}
const answerTo = (request: Frame, payload: readonly number[], more: Partial<Frame> = {}): Frame => ({
  ...request,
  kind: request.kind | ANSWER_BIT,
  guest_seq: 1,
  payload,
  ...more,
});

afterEach(() => {
  vi.useRealTimers();
});

describe("LedgerClient", () => {
  it("pairs answers with questions by number, out of order and among noise", async () => {
    const held: Frame[] = [];
    const { client } = clientOf((request) => {
      held.push(answerTo(request, [(request.payload[0] ?? 0) + 100]));
      return held.length < 3 ? [] : Buffer.concat([Buffer.from("noise"), ...held.reverse().map(encodeFrame)]);
    });
    const answers = await Promise.all([1, 2, 3].map(async (value) => await client.append(value)));
    expect(answers.map(({ index, client_seq }) => [index, client_seq])).toEqual([
      [101, 1],
      [102, 2],
      [103, 3],
    ]);
    expect(client.skipped_bytes).toBe(5);
  });

  it("calls a time-out unknown, and counts the late answer as stray", async () => {
    vi.useFakeTimers();
    let late: Frame | undefined;
    const { client, far } = clientOf((request) => {
      late = answerTo(request, [0]);
      return [];
    });
    const append = client.append(5, { timeout_ms: 300 });
    const seen = expect(append).rejects.toThrow(LedgerUnknownError);
    await vi.advanceTimersByTimeAsync(300);
    await seen;
    if (late === undefined) throw new Error("the request never arrived");
    far.write(encodeFrame(late));
    await vi.advanceTimersByTimeAsync(1);
    expect(client.stray_frames).toBe(1);
  });

  it("calls everything unknown when the connection ends, also what is asked afterwards", async () => {
    const { client, far } = clientOf(() => []);
    const append = client.append(5);
    far.end();
    await expect(append).rejects.toThrow("the connection was closed");
    await expect(client.hello()).rejects.toThrow(LedgerUnknownError);
  });

  it("tells refused from unknown", async () => {
    const { client } = clientOf((request) => [answerTo(request, [1, request.kind], { kind: KIND_REFUSED })]);
    await expect(client.append(5)).rejects.toThrow(LedgerRefusedError);
    await expect(client.append(5)).rejects.toThrow("the ledger is full");
  });

  it("takes no answer that is for another client or another question", async () => {
    const { client } = clientOf((request) => [
      answerTo(request, [1], { client: 8 }),
      answerTo(request, [2], { kind: 0x83 }),
      answerTo(request, [3]),
    ]);
    expect((await client.append(5)).index).toBe(3);
    expect(client.stray_frames).toBe(2);
  });

  it("repeats an append under its old number when told to", async () => {
    const numbers: number[] = [];
    const { client } = clientOf((request) => {
      numbers.push(request.client_seq);
      return [answerTo(request, [0])];
    });
    await client.append(5);
    await client.append(5, { client_seq: 1 });
    await client.append(6);
    expect(numbers).toEqual([1, 1, 2]);
  });
});
