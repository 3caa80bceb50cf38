import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { frameNumber, generation, SWITCHOVER, transactionNumber } from "../core/index.ts";
import { folder } from "./files.ts";
import { TransactionLog } from "./log.ts";
import { LossyFiles, PowerLoss } from "./lossy-files.ts";
import { loadPromise, savePromise } from "./promise-store.ts";
import { decodeRecord, encodeRecord, RecordError, type TransactionRecord } from "./record.ts";

const BLOCKS = [
  { name: "ram0", size: 16 * PAGE_BYTES },
  { name: "pc.bios", size: 4 * PAGE_BYTES },
];

interface Sketch {
  readonly cumulative: boolean;
  readonly pages: readonly (readonly [number, number, number])[];
  readonly frames: number;
}

/** A page is told by one byte; 0 is the zero page. */
function recordOf(n: number, sketch: Sketch, mark: number, acked: number): TransactionRecord {
  const pages = new Map(sketch.pages.map(([block, page, fill]) => [`${block}:${page}`, { block, page, fill }]));
  return {
    generation: generation(1),
    n: transactionNumber(n),
    since: sketch.cumulative || n === 1 ? "base" : transactionNumber(n - 1),
    mark: frameNumber(mark + sketch.frames),
    acked: frameNumber(acked),
    blocks: BLOCKS,
    pages: [...pages.values()].map(({ block, page, fill }) => ({
      block,
      page,
      bytes: fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill),
    })),
    device_state: Buffer.from(`device ${n}`),
    frames: Array.from({ length: sketch.frames }, (_, i) => ({
      number: frameNumber(mark + i + 1),
      channel: 2,
      bytes: Buffer.from(`frame ${mark + i + 1}`),
    })),
  };
}

/** What the log must give back: pages by one byte each, device state, frames that have not arrived. */
interface Model {
  n: number;
  pages: Map<string, number>;
  device: string;
  frames: string[];
}

function applied(before: Model | null, record: TransactionRecord): Model {
  const pages = new Map(record.since === "base" ? [] : before?.pages);
  for (const { block, page, bytes } of record.pages) pages.set(`${BLOCKS[block]?.name}:${page}`, bytes?.[0] ?? 0);
  const frames = [...(before?.frames ?? []), ...record.frames.map(({ bytes }) => Buffer.from(bytes).toString())];
  return {
    n: record.n,
    pages,
    device: Buffer.from(record.device_state).toString(),
    frames: frames.filter((text) => Number(text.slice(6)) > record.acked),
  };
}

async function modelOf(log: TransactionLog): Promise<Model | null> {
  const pages = new Map<string, number>();
  const restored = await log.restore((block, page, bytes) => {
    if (bytes !== null) expect(bytes.every((byte) => byte === bytes[0])).toBe(true);
    pages.set(`${block}:${page}`, bytes?.[0] ?? 0);
  });
  if (restored === null) return null;
  return {
    n: restored.head.n,
    pages,
    device: restored.device_state.toString(),
    frames: restored.frames.map(({ bytes }) => bytes.toString()),
  };
}

function plain(model: Model | null): unknown {
  return model === null ? null : { ...model, pages: [...model.pages].sort(), frames: model.frames };
}

const sketches: fc.Arbitrary<Sketch> = fc.record({
  cumulative: fc.boolean(),
  pages: fc.array(
    fc.oneof(fc.tuple(fc.constant(0), fc.nat(15), fc.nat(255)), fc.tuple(fc.constant(1), fc.nat(3), fc.nat(255))),
    { maxLength: 5 },
  ),
  frames: fc.nat(3),
});

describe("records", () => {
  it("come out as they went in", () => {
    fc.assert(
      fc.property(sketches, (sketch) => {
        const record = recordOf(7, sketch, 3, 1);
        const decoded = decodeRecord(Buffer.concat(encodeRecord(record)));
        expect(plain(applied(null, decoded))).toEqual(plain(applied(null, record)));
        expect(decoded.mark).toBe(record.mark);
        expect(decoded.blocks).toEqual(BLOCKS);
      }),
      { numRuns: 50 },
    );
  });

  it("are refused when any byte is wrong or missing", () => {
    const bytes = Buffer.concat(encodeRecord(recordOf(1, { cumulative: true, pages: [[0, 2, 9]], frames: 1 }, 0, 0)));
    for (let i = 0; i < bytes.length; i += i < 200 ? 1 : 61) {
      const bad = Buffer.from(bytes);
      bad[i] = (bad[i] ?? 0) ^ 0x10;
      expect(() => decodeRecord(bad), `byte ${i}`).toThrow(RecordError);
      expect(() => decodeRecord(bytes.subarray(0, i))).toThrow(RecordError);
    }
  });
});

describe("the transaction log", () => {
  let path = "";
  beforeAll(async () => {
    path = await mkdtemp(join(tmpdir(), "txlog-"));
  });
  afterAll(() => rm(path, { recursive: true, force: true }));

  it("restores the last whole transaction when cut at any byte", async () => {
    const files = folder(path);
    const log = await TransactionLog.open({ files, sync: "memory" });
    const models: { end: number; model: Model | null }[] = [{ end: 0, model: null }];
    const all: Buffer[] = [];
    let model: Model | null = null;
    for (let n = 1; n <= 3; n += 1) {
      const record = recordOf(
        n,
        { cumulative: false, pages: n === 2 ? [[0, 1, 0]] : [[0, n, n]], frames: 1 },
        n - 1,
        0,
      );
      const bytes = Buffer.concat(encodeRecord(record));
      await log.append(bytes);
      all.push(bytes);
      model = applied(model, record);
      models.push({ end: log.bytes, model });
    }
    await log.close();
    const whole = Buffer.concat(all);
    // Every byte of heads and tables, and around every border; within a page's content every 97th.
    for (let cut = 0; cut <= whole.length; cut += 1) {
      const near = models.some(({ end }) => Math.abs(end - cut) < 200);
      if (!near && cut % 97 !== 0) continue;
      await writeFile(join(path, "txlog-00000000"), whole.subarray(0, cut));
      const again = await TransactionLog.open({ files, sync: "memory" });
      const expected = models.filter(({ end }) => end <= cut).at(-1)?.model ?? null;
      expect(plain(await modelOf(again)), `cut at ${cut}`).toEqual(plain(expected));
      expect(again.torn === null).toBe(models.some(({ end }) => end === cut));
      await again.close();
    }
  });

  it("refuses a record that does not follow, and stores nothing of it", async () => {
    const log = await TransactionLog.open({ files: new LossyFiles(), sync: "disk" });
    const empty: Sketch = { cumulative: false, pages: [], frames: 0 };
    await log.append(Buffer.concat(encodeRecord(recordOf(1, empty, 0, 0))));
    const bytes = log.bytes;
    for (const n of [1, 3]) {
      await expect(
        log.append(Buffer.concat(encodeRecord(recordOf(n, { ...empty, pages: n === 1 ? [] : [] }, 0, 0)))),
      ).rejects.toThrow(RecordError);
    }
    await expect(log.append(Buffer.from("garbage"))).rejects.toThrow(RecordError);
    expect(log.bytes).toBe(bytes);
    expect(log.state?.last).toBe(1);
  });

  it("does not grow with the length of the migration", async () => {
    const log = await TransactionLog.open({
      files: new LossyFiles(),
      sync: "memory",
      growth: 2,
      slack_bytes: 64 * 1024,
    });
    for (let n = 1; n <= 200; n += 1) {
      const pages = [0, 1, 2].map((i) => [0, (n + i) % 16, n % 256] as const);
      await log.append(Buffer.concat(encodeRecord(recordOf(n, { cumulative: false, pages, frames: 1 }, n - 1, n - 1))));
      expect(log.bytes).toBeLessThan(2 * 17 * PAGE_BYTES + 64 * 1024 + 4 * PAGE_BYTES);
    }
    expect(log.state).toMatchObject({ last: 200, mark: 200 });
  });

  it("keeps every answered record, whole, when power goes at any operation", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof({ weight: 3, arbitrary: sketches }, { weight: 1, arbitrary: fc.constant("compact" as const) }),
          {
            minLength: 1,
            maxLength: 8,
          },
        ),
        fc.nat(60),
        fc.infiniteStream(fc.nat(1_000_000)),
        fc.constantFrom("memory" as const, "disk" as const),
        fc.boolean(),
        async (steps, failAt, chance, sync, powerLoss) => {
          const files = new LossyFiles();
          const models: (Model | null)[] = [null];
          let answered = 0;
          let mark = 0;
          files.loseAt(failAt);
          try {
            const log = await TransactionLog.open({ files, sync });
            for (const step of steps) {
              if (step === "compact") {
                const many = log.entries.length > 1;
                await log.compact();
                if (many) answered = models.length - 1;
                continue;
              }
              const n = models.length;
              const record = recordOf(n, step, mark, Math.max(0, mark - 2));
              mark = record.mark;
              models.push(applied(models[n - 1] ?? null, record));
              await log.append(Buffer.concat(encodeRecord(record)));
              if (sync === "disk") answered = n;
            }
          } catch (error) {
            if (!(error instanceof PowerLoss)) throw error;
          }
          if (powerLoss) files.recover((n) => (chance.next().value ?? 0) % (n + 1));
          else files.restart();
          const log = await TransactionLog.open({ files, sync });
          const found = await modelOf(log);
          const n = found?.n ?? 0;
          expect(plain(found)).toEqual(plain(models[n] ?? null));
          expect(n).toBeGreaterThanOrEqual(powerLoss ? answered : Math.max(0, models.length - 2));
          // And it goes on.
          const next = recordOf(n + 1, { cumulative: false, pages: [[0, 3, 3]], frames: 0 }, 0, 0);
          await log.append(Buffer.concat(encodeRecord(next)));
          expect(log.state?.last).toBe(n + 1);
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe("the promise store", () => {
  it("gives the old promise or the new one when power goes at any operation, and the new one once saved", async () => {
    const first = { descriptor: SWITCHOVER, opened: false };
    const second = { descriptor: { ...SWITCHOVER, generation: generation(2) }, opened: true };
    for (let failAt = 0; failAt < 8; failAt += 1) {
      for (let kept = 0; kept < 6; kept += 1) {
        const files = new LossyFiles();
        await savePromise(files, first);
        files.loseAt(files.operations + failAt);
        const saved = await savePromise(files, second).then(
          () => true,
          () => false,
        );
        files.recover((n) => Math.min(n, kept * 7));
        const found = await loadPromise(files);
        if (saved) expect(found).toEqual(second);
        else expect([first, second]).toContainEqual(found);
      }
    }
  });

  it("refuses a damaged file, and says so", async () => {
    const files = new LossyFiles();
    expect(await loadPromise(files)).toBeNull();
    const file = await files.open("promise", "create");
    await file.append([Buffer.from("nonsense!")]);
    await expect(loadPromise(files)).rejects.toThrow(/damaged/);
  });
});
