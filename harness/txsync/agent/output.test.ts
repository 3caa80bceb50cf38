import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { frameNumber } from "../core/index.ts";
import type { OutputSink, OutputSource } from "../device/output-source.ts";
import { SERIAL_LINES, SerialLine } from "../device/serial-line.ts";
import type { OutputFrame } from "../log/index.ts";
import { FRAME_BYTES, OutputStore } from "./output.ts";
import type { WriteAt } from "./two-places.ts";

const sourcesOf = (): SerialLine[] => SERIAL_LINES.map((name, channel) => new SerialLine(channel, name));

let root: string;
let folders = 0;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "output-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** A host's folder, and in it what QEMU writes. */
class Place {
  readonly folder = mkdtempSync(join(root, `${++folders}-`));
  readonly written: Buffer[] = SERIAL_LINES.map(() => Buffer.alloc(0));
  readonly told: number[] = [];

  constructor() {
    this.newFiles();
  }

  newFiles(): void {
    for (const [channel, name] of SERIAL_LINES.entries()) {
      writeFileSync(join(this.folder, `${name}.out`), "");
      this.written[channel] = Buffer.alloc(0);
    }
  }

  put(channel: number, bytes: Uint8Array): void {
    appendFileSync(join(this.folder, `${SERIAL_LINES[channel]}.out`), bytes);
    this.written[channel] = Buffer.concat([this.written[channel] ?? Buffer.alloc(0), bytes]);
  }

  /** What was written of the log: by which file, where and when, oldest first. */
  readonly writes: { readonly path: string; readonly position: number; readonly bytes: Buffer }[] = [];
  /** So much can still be written; then the memory is full. */
  room_bytes = Number.POSITIVE_INFINITY;
  /** No file can be longer than this. */
  refuse_beyond = Number.POSITIVE_INFINITY;
  readonly troubles: (string | undefined)[] = [];

  readonly #write: WriteAt = (fd, bytes, offset, length, position) => {
    if (this.room_bytes <= 0 || position + length > this.refuse_beyond)
      throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
    const took = Math.min(length, this.room_bytes);
    this.room_bytes -= took;
    writeSync(fd, bytes, offset, took, position);
    const path = readlinkSync(`/proc/self/fd/${fd}`);
    this.writes.push({ path, position, bytes: Buffer.from(bytes.subarray(offset, offset + took)) });
    return took;
  };

  /** An agent's life. */
  open(): OutputStore {
    const store = new OutputStore(this.folder, sourcesOf(), (upTo) => this.told.push(upTo), {
      write: this.#write,
      onTrouble: (why) => this.troubles.push(why),
    });
    store.follow(this.folder);
    return store;
  }

  /** As an agent leaves its log that dies in the middle of its last write: only so much of that was done. */
  cutLast(share: number): void {
    const last = this.writes.at(-1);
    if (last === undefined) return;
    const { path, position, bytes } = last;
    const done = Math.floor(bytes.length * share);
    const content = readFileSync(path);
    // What was there before it does not matter: it is of an earlier turn, or of none.
    writeFileSync(
      path,
      Buffer.concat([content.subarray(0, position + done), content.subarray(position + bytes.length)]),
    );
  }

  get log_bytes(): number {
    return Math.max(...["frames.0", "frames.1"].map((name) => statSync(join(this.folder, name)).size));
  }
}

/** Nothing lost, nothing twice, no number without a frame. */
function expectAll(place: Place, frames: readonly OutputFrame[], first = 1): void {
  expect(frames.map(({ number }) => number)).toEqual(frames.map((_, i) => first + i));
  for (const [channel, written] of place.written.entries()) {
    const bytes = Buffer.concat(frames.filter((frame) => frame.channel === channel).map((frame) => frame.bytes));
    expect(bytes.equals(written), `${SERIAL_LINES[channel]}: ${bytes.length} of ${written.length} bytes`).toBe(true);
  }
}

describe("the output store", () => {
  it("says how much waits: what was taken does not, nor what a network may lose once it was let out", () => {
    const place = new Place();
    let sink: OutputSink | undefined;
    const card: OutputSource = {
      channel: 2,
      name: "card",
      may_lose: true,
      follow: (_folder, _end, to) => {
        sink = to;
      },
      unfollow: () => undefined,
      endIn: () => 0,
      look: () => undefined,
    };
    const store = new OutputStore(place.folder, [...sourcesOf(), card], () => undefined);
    store.follow(place.folder);
    place.put(0, Buffer.alloc(100));
    store.look();
    sink?.put(Buffer.alloc(10), 0);
    sink?.put(Buffer.alloc(1), 0);
    expect(store.waiting_bytes).toBe(111 + 3 * FRAME_BYTES);
    store.released(2);
    expect(store.waiting_bytes).toBe(101 + 2 * FRAME_BYTES);
    store.acked(1);
    expect(store.waiting_bytes).toBe(1 + FRAME_BYTES);
    // Taken by an edge that had it from elsewhere, before the gate let it go here.
    store.acked(3);
    store.released(3);
    expect(store.waiting_bytes).toBe(0);
    store.reset(7, 5, [{ number: frameNumber(6), channel: 0, bytes: Buffer.alloc(5) }]);
    expect(store.waiting_bytes).toBe(5 + FRAME_BYTES);
    store.acked(7);
    expect(store.waiting_bytes).toBe(0);
    store.unfollow();
    // What was taken is known again when whoever took it comes back.
    const again = new OutputStore(place.folder, sourcesOf(), () => undefined);
    again.acked(7);
    expect(again.waiting_bytes).toBe(0);
  });

  it("numbers what is put out, tells of it by itself, and loses nothing", async () => {
    const place = new Place();
    const store = place.open();
    expect([store.produced, store.look()]).toEqual([0, 0]);
    for (let i = 0; i < 50; i += 1) {
      place.put(i % 2, Buffer.from(`line ${i}\n`));
      if (i % 10 === 9) {
        const want = place.written.reduce((sum, bytes) => sum + bytes.length, 0);
        await waitFor({ what: "the output to be seen", timeout_ms: 5_000, interval_ms: 1 }, () => {
          const got = store.frames(1, store.produced).reduce((sum, { bytes }) => sum + bytes.length, 0);
          return got === want ? true : undefined;
        });
      }
    }
    expectAll(place, store.frames(1, store.produced));
    expect(place.told.at(-1)).toBe(store.produced);
    expect(place.told).toEqual([...new Set(place.told)].sort((a, b) => a - b));
    store.unfollow();
  });

  it("finds in one look all that was written, in frames that are not too long", () => {
    const place = new Place();
    const store = place.open();
    place.put(0, Buffer.alloc(200_000, "a"));
    place.put(1, Buffer.alloc(65_536, "b"));
    expect(store.look()).toBe(5);
    const frames = store.frames(1, 100);
    expectAll(place, frames);
    expect(Math.max(...frames.map(({ bytes }) => bytes.length))).toBe(65_536);
    expect(place.told).toEqual([5]);
    expect(store.look()).toBe(5);
    expect(place.told).toEqual([5]);
    store.unfollow();
    // Nobody reads it meanwhile; it is all there afterwards.
    place.put(0, Buffer.from("more"));
    expect(store.look()).toBe(5);
    store.follow(place.folder);
    expect(store.look()).toBe(6);
    expectAll(place, store.frames(1, 6));
    store.unfollow();
  });

  it("goes on where its last life stopped, wherever the log is cut", () => {
    const bytes = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 30 }), fc.constant(new Uint8Array(70_000).fill(7)));
    const steps = fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), channel: fc.nat(1), bytes }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant("look" as const) }) },
      fc.record({ do: fc.constant("ack" as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant("again" as const), cut: fc.double({ min: 0, max: 1, noNaN: true }) }),
      },
    );
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 30 }), (all) => {
        const place = new Place();
        let store = place.open();
        const acked = new Map<number, OutputFrame>();
        const lastAcked = (): number => Math.max(0, ...acked.keys());
        // The first frame of what was written last.
        let last_from = 1;
        for (const step of all) {
          if (step.do === "put") place.put(step.channel, step.bytes);
          if (step.do === "look") {
            const before = store.produced;
            if (store.look() > before) last_from = before + 1;
          }
          if (step.do === "ack") {
            const upTo = Math.floor(store.produced * step.share);
            for (const frame of store.frames(1, upTo)) acked.set(frame.number, frame);
            store.acked(upTo);
            expect(store.frames(1, upTo)).toEqual([]);
          }
          if (step.do === "again") {
            store.unfollow();
            // What was acknowledged was told, and what was told was written to its end.
            if (store.produced >= last_from && last_from > lastAcked()) place.cutLast(step.cut);
            const writes = place.writes.length;
            store = place.open();
            if (place.writes.length > writes) last_from = lastAcked() + 1;
          }
        }
        store.look();
        store.unfollow();
        const kept = new Map(store.frames(1, store.produced).map((frame) => [frame.number as number, frame]));
        for (const [number, { bytes, channel }] of acked) {
          const again = kept.get(number);
          if (again !== undefined) expect([again.channel, Buffer.compare(again.bytes, bytes)]).toEqual([channel, 0]);
        }
        const frames = new Map([...acked, ...kept]);
        expectAll(
          place,
          [...frames.values()].sort((a, b) => a.number - b.number),
        );
        expect(frames.size).toBe(store.produced);
        rmSync(place.folder, { recursive: true });
      }),
      { numRuns: 200 },
    );
  });

  it("goes on where its last life stopped, with the last write cut at every single byte", () => {
    for (let cut = 0; cut <= 60; cut += 1) {
      const place = new Place();
      const first = place.open();
      for (let i = 0; i < 6; i += 1) {
        place.put(i % 2, Buffer.from(`number ${i}`));
        first.look();
      }
      first.unfollow();
      place.put(0, Buffer.from("while it was away"));
      place.cutLast(cut / 60);
      const store = place.open();
      expectAll(place, store.frames(1, store.produced));
      store.unfollow();
    }
  });

  describe("where the host's memory is full", () => {
    it("tells of nothing that is not stored, takes no transaction of it, and goes on when there is room", async () => {
      const place = new Place();
      const store = place.open();
      place.put(0, Buffer.from("before"));
      expect(store.look()).toBe(1);
      place.room_bytes = 10;
      place.put(0, Buffer.from("during"));
      expect([store.look(), store.produced, place.told]).toEqual([1, 1, [1]]);
      expect(() => store.still()).toThrow(/cannot be stored/);
      expect(() => store.still()).toThrow(/cannot be stored/);
      await expect(store.settle()).rejects.toThrow(/cannot be stored/);
      expect(place.troubles).toEqual(["ENOSPC: no space left on device"]);
      // An agent that comes up meanwhile finds what was told.
      const meanwhile = place.open();
      expect(meanwhile.produced).toBe(1);
      meanwhile.unfollow();
      place.room_bytes = Number.POSITIVE_INFINITY;
      expect(store.still()).toBe(2);
      expect([place.told.at(-1), place.troubles.at(-1)]).toEqual([2, undefined]);
      expectAll(place, store.frames(1, 2));
      store.unfollow();
      const again = place.open();
      expectAll(place, again.frames(1, again.produced));
      again.unfollow();
    });

    it("comes up all the same, and tells of it once there is room", async () => {
      const place = new Place();
      place.room_bytes = 0;
      place.put(0, Buffer.from("early"));
      const store = place.open();
      expect(store.produced).toBe(0);
      place.room_bytes = Number.POSITIVE_INFINITY;
      await waitFor({ what: "what was put out early", timeout_ms: 5_000, interval_ms: 1 }, () =>
        place.told.length > 0 ? true : undefined,
      );
      expectAll(place, store.frames(1, store.produced));
      store.unfollow();
    });

    it("needs no more room for what a console says than it took when it came up", () => {
      const place = new Place();
      const store = place.open();
      place.refuse_beyond = statSync(join(place.folder, "frames.0")).size;
      for (let i = 0; i < 5_000; i += 1) {
        place.put(0, Buffer.alloc(200, i));
        store.look();
        store.acked(store.produced);
      }
      expect(place.troubles).toEqual([]);
      expect(store.produced).toBe(5_000);
      store.unfollow();
      const again = place.open();
      expect(again.produced).toBe(5_000);
      again.unfollow();
    });

    it("leaves where QEMU puts it what is too much to be kept here, and loses none of it", () => {
      const place = new Place();
      const store = place.open();
      place.room_bytes = 0;
      for (let i = 0; i < 40; i += 1) {
        place.put(i % 2, Buffer.alloc(2 ** 17, i));
        store.look();
      }
      expect(store.waiting_bytes).toBeLessThan(1.5 * 2 ** 20);
      expect(() => store.still()).toThrow(/cannot be stored/);
      place.room_bytes = Number.POSITIVE_INFINITY;
      const last = store.still();
      expectAll(place, store.frames(1, last));
      store.unfollow();
    });

    it("begins no other VM that it cannot write down, and is as it was", () => {
      const place = new Place();
      const store = place.open();
      place.put(0, Buffer.from("mine"));
      store.look();
      place.room_bytes = 0;
      expect(() => store.reset(9, 9, [])).toThrow(/ENOSPC/);
      expect(() => store.followFromNow(place.folder)).toThrow(/ENOSPC/);
      expect(store.produced).toBe(1);
      expectAll(place, store.frames(1, 9));
      place.room_bytes = Number.POSITIVE_INFINITY;
      store.reset(9, 9, []);
      expect([store.produced, store.frames(1, 9)]).toEqual([9, []]);
      store.unfollow();
    });
  });

  it("keeps a log no longer than is needed", () => {
    const place = new Place();
    const store = place.open();
    for (let i = 0; i < 9; i += 1) {
      place.put(0, Buffer.alloc(2 ** 20, i));
      store.look();
    }
    const last = store.produced;
    expect(place.log_bytes).toBeGreaterThan(9 * 2 ** 20);
    store.acked(last - 1);
    expect(place.log_bytes).toBeLessThan(300_000);
    place.put(1, Buffer.from("afterwards"));
    store.look();
    store.unfollow();
    const again = place.open();
    expect(again.frames(1, again.produced).map(({ number, channel }) => [number, channel])).toEqual([
      [last, 0],
      [last + 1, 1],
    ]);
    place.put(0, Buffer.from("!"));
    again.look();
    expect(again.frames(last + 2, last + 2)[0]?.bytes.toString()).toBe("!");
    again.unfollow();
  });

  it("leaves no more room to QEMU's file than what waits to be read takes", async () => {
    const place = new Place();
    const store = place.open();
    const path = join(place.folder, "com1.out");
    const room = (): number => statSync(path).blocks * 512;
    for (let i = 0; i < 5; i += 1) {
      appendFileSync(path, Buffer.alloc(2 ** 20, i));
      store.look();
      store.acked(store.produced);
    }
    await waitFor({ what: "room", timeout_ms: 5_000, interval_ms: 1 }, () => room() < 1.5 * 2 ** 20 || undefined);
    expect(statSync(path).size).toBe(5 * 2 ** 20);
    // Its next life goes on behind that.
    store.unfollow();
    appendFileSync(path, "next");
    const before = store.produced;
    const again = place.open();
    expect(again.frames(before + 1, again.produced).map(({ bytes }) => bytes.toString())).toEqual(["next"]);
    again.unfollow();
  });

  it("frees nothing of QEMU's file that is not stored", () => {
    const place = new Place();
    const store = place.open();
    place.room_bytes = 0;
    for (let i = 0; i < 12; i += 1) {
      place.put(0, Buffer.alloc(2 ** 19, i));
      store.look();
    }
    place.room_bytes = Number.POSITIVE_INFINITY;
    expectAll(place, store.frames(1, store.still()));
    store.unfollow();
  });

  it("goes on at once where its VM has put out a great deal, in its next life too", () => {
    const place = new Place();
    const store = place.open();
    const mark = 2_000_000_000;
    store.reset(mark, mark - 1, [{ number: frameNumber(mark), channel: 0, bytes: Buffer.from("last") }]);
    store.unfollow();
    place.newFiles();
    const again = place.open();
    again.released(mark);
    expect(again.waiting_bytes).toBe(4 + FRAME_BYTES);
    again.acked(mark);
    expect([again.waiting_bytes, again.frames(mark, mark)]).toEqual([0, []]);
    again.unfollow();
    const empty = place.open();
    empty.acked(mark);
    empty.unfollow();
  });

  it("begins anew at another VM's mark, with that VM's frames, and forgets its own", () => {
    const place = new Place();
    const store = place.open();
    for (const text of ["one", "two", "three"]) {
      place.put(0, Buffer.from(text));
      store.look();
    }
    const frames = [2, 3].map((number) => ({
      number: frameNumber(number),
      channel: 1,
      bytes: Buffer.from(`other ${number}`),
    }));
    const textOf = (from: OutputStore): unknown =>
      from.frames(1, 100).map(({ number, channel, bytes }) => [number, channel, Buffer.from(bytes).toString()]);
    store.reset(3, 1, frames);
    place.put(0, Buffer.from("of a QEMU that is not followed any more"));
    expect(store.look()).toBe(3);
    const others = [
      [2, 1, "other 2"],
      [3, 1, "other 3"],
    ];
    expect(textOf(store)).toEqual(others);
    expect(store.age_ms(2)).toBe(0);
    // In its next life too.
    const again = new OutputStore(place.folder, sourcesOf(), () => undefined);
    expect([again.produced, textOf(again)]).toEqual([3, others]);
    place.newFiles();
    place.put(0, Buffer.from("new"));
    again.follow(place.folder);
    expect(textOf(again)).toEqual([...others, [4, 0, "new"]]);
    expect(again.age_ms(4)).toBeGreaterThanOrEqual(0);
    again.acked(3);
    expect(textOf(again)).toEqual([[4, 0, "new"]]);
    // A mark lower than what was here counts too.
    again.reset(2, 2, []);
    again.follow(place.folder);
    expect(textOf(again)).toEqual([[3, 0, "new"]]);
    again.unfollow();
  });

  it("leaves out what was put out before it begins, in its next life too", () => {
    const place = new Place();
    place.put(0, Buffer.from("somebody else's"));
    const store = new OutputStore(place.folder, sourcesOf(), () => undefined);
    store.reset(5, 5, []);
    store.followFromNow(place.folder);
    expect(store.look()).toBe(5);
    store.unfollow();
    place.put(0, Buffer.from("mine"));
    place.put(1, Buffer.from("too"));
    const again = place.open();
    expect(again.frames(1, 100).map(({ number, bytes }) => [number, bytes.toString()])).toEqual([
      [6, "mine"],
      [7, "too"],
    ]);
    again.unfollow();
  });

  it("does not say that there is a file where there is none", () => {
    const place = new Place();
    const store = place.open();
    expect(() => store.follow(join(place.folder, "nowhere"))).toThrow(/ENOENT/);
    store.unfollow();
  });

  it("says that much waits, and again when it is twice as much", () => {
    const place = new Place();
    const told: number[] = [];
    const store = new OutputStore(place.folder, sourcesOf(), () => undefined, {
      onMuch: (bytes) => told.push(Math.floor(bytes / 2 ** 20)),
    });
    store.follow(place.folder);
    for (let i = 0; i < 9; i += 1) {
      appendFileSync(join(place.folder, "com1.out"), Buffer.alloc(8 * 2 ** 20));
      store.look();
    }
    expect(told).toEqual([64]);
    // What was taken does not wait any more.
    store.acked(store.produced);
    for (let i = 0; i < 8; i += 1) {
      appendFileSync(join(place.folder, "com1.out"), Buffer.alloc(8 * 2 ** 20));
      store.look();
    }
    expect(told).toEqual([64, 64]);
    store.unfollow();
  });
});
