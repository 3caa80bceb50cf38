import { expect, test } from "vitest";
import { frameNumber, SWITCHOVER, transactionNumber } from "../core/index.ts";
import { PackageSender } from "./package-sender.ts";

const MESSAGE = {
  kind: "package",
  descriptor: SWITCHOVER,
  n: transactionNumber(0),
  mark: frameNumber(3),
  acked: frameNumber(2),
} as const;
const LEASE_MS = 500;

/** A connection that takes what it is told to take, and a clock that stands until it is moved. */
class Stage {
  connection: number | undefined = 1;
  body: Uint8Array[] | undefined = [Buffer.of(1)];
  now_ms = 0;
  moves = 0;
  readonly log: string[] = [];
  readonly #sends: { readonly onMoves: () => void; readonly end: PromiseWithResolvers<boolean> }[] = [];
  readonly #sender = new PackageSender({
    peers: {
      connection: () => this.connection,
      sendLong: (_to, _channel, _message, _body, onMoves) => {
        const end = Promise.withResolvers<boolean>();
        this.#sends.push({ onMoves, end });
        return end.promise;
      },
    },
    lease_ms: LEASE_MS,
    body: () => this.body,
    onMoves: () => (this.moves += 1),
    onLog: (line) => this.log.push(line),
    now_ms: () => this.now_ms,
  });

  /** The core asks for it. @returns how often it was sent so far */
  asked(): number {
    this.#sender.send(MESSAGE);
    return this.#sends.length;
  }

  /** The connection takes a piece of what was sent last. */
  takes(): void {
    this.#sends.at(-1)?.onMoves();
  }

  async ends(whole: boolean | Error): Promise<void> {
    const end = this.#sends.at(-1)?.end;
    if (whole instanceof Error) end?.reject(whole);
    else end?.resolve(whole);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a package is not sent again while it waits here, however long; that its bytes move is told", async () => {
  const stage = new Stage();
  expect(stage.asked()).toBe(1);
  for (let piece = 1; piece <= 100; piece += 1) {
    stage.now_ms += 100;
    stage.takes();
    stage.takes();
    expect(stage.asked()).toBe(1);
    expect(stage.moves).toBe(piece);
  }
  // One that moves no more is not told of, and not sent twice either: the connection has it.
  stage.now_ms += 100 * LEASE_MS;
  expect([stage.asked(), stage.moves]).toEqual([1, 100]);
});

test("one that was handed over is sent again after as long as that took, then ever more seldom", async () => {
  const stage = new Stage();
  stage.asked();
  stage.now_ms = 3_000;
  await stage.ends(true);
  stage.now_ms = 5_900;
  expect(stage.asked()).toBe(1);
  stage.now_ms = 6_000;
  expect(stage.asked()).toBe(2);
  await stage.ends(true);
  stage.now_ms = 11_900;
  expect(stage.asked()).toBe(2);
  stage.now_ms = 12_000;
  expect(stage.asked()).toBe(3);
});

test("a connection that swallows it gets it a few times, and never stops to be tried", async () => {
  const stage = new Stage();
  const at_ms: number[] = [];
  for (let sends = 0; stage.now_ms < 60_000; stage.now_ms += LEASE_MS / 2) {
    if (stage.asked() === sends) continue;
    sends += 1;
    at_ms.push(stage.now_ms);
    await stage.ends(true);
  }
  expect(at_ms.slice(0, 6)).toEqual([0, 250, 750, 1_750, 3_750, 7_750]);
  const gaps_ms = at_ms.slice(7).map((at, i) => at - (at_ms[i + 6] ?? 0));
  expect(gaps_ms.every((gap_ms) => gap_ms === 16 * LEASE_MS)).toBe(true);
  expect(gaps_ms.length).toBeGreaterThan(3);
});

test("another connection gets it at once; without one, or without a package, nothing happens", async () => {
  const stage = new Stage();
  stage.body = undefined;
  expect(stage.asked()).toBe(0);
  stage.body = [Buffer.of(1)];
  expect(stage.asked()).toBe(1);
  stage.connection = undefined;
  expect(stage.asked()).toBe(1);
  await stage.ends(false);
  stage.connection = 2;
  expect(stage.asked()).toBe(2);
  expect(stage.asked()).toBe(2);
  await stage.ends(new Error("too long"));
  expect(stage.log.join()).toContain("too long");
});
