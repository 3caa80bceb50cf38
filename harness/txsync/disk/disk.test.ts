import { randomUUID } from "node:crypto";
import { truncateSync } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { Disk } from "./disk.ts";
import { type DiskChange, Overlay } from "./overlay.ts";
import { MemoryBackend } from "./testing/memory-backend.ts";
import { temporaryFolder } from "./testing/serving.ts";

const SIZE = 2048;

const range = fc
  .tuple(fc.nat(SIZE - 1), fc.integer({ min: 1, max: 300 }))
  .map(([offset, length]) => ({ offset, length: Math.min(length, SIZE - offset) }));

const deed = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("write" as const), range, byte: fc.integer({ min: 1, max: 255 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("zero" as const), range }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("read" as const), range }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("mark" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("commit" as const), writes_left: fc.option(fc.nat(3)) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("roll back" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("agent dies" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("host dies" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("let through" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("keep" as const) }) },
);

/** What the guest has to read, what each transaction has, and what a log has of those that may not be in the image. */
class Model {
  now = Buffer.alloc(SIZE);
  marks: { n: number; content: Buffer; changes: readonly DiskChange[] }[] = [];
  committed: { n: number; content: Buffer } = { n: 0, content: Buffer.alloc(SIZE) };
  /** Of committed transactions, in order. */
  log: DiskChange[] = [];
  last = 0;

  commit(): number | undefined {
    const first = this.marks.shift();
    if (first === undefined) return undefined;
    this.committed = first;
    this.log.push(...first.changes);
    return first.n;
  }

  rollBack(): void {
    this.marks = [];
    this.now = Buffer.from(this.committed.content);
  }
}

/** What an agent does that comes up: the image gets what was committed, whatever of it was there already. */
async function commitAgain(disk: Disk, model: Model): Promise<void> {
  await disk.commit(model.committed.n);
}

describe("a disk whose writes wait for their transaction", () => {
  it("reads what was written, and has in the image what is committed, whatever dies", async () => {
    await using folder = await temporaryFolder();
    await fc.assert(
      fc.asyncProperty(fc.array(deed, { maxLength: 60, size: "max" }), async (deeds) => {
        const image = new MemoryBackend(SIZE);
        let host = join(folder.path, randomUUID());
        const open = (mode: "kept" | "through"): Disk =>
          new Disk({ image, folder: host, mode, overlay_bytes_max: 1 << 20 });
        const model = new Model();
        let disk = open("kept");
        for (const each of deeds) {
          switch (each.kind) {
            case "write": {
              const bytes = Buffer.alloc(each.range.length, each.byte);
              await disk.write(each.range.offset, bytes);
              bytes.copy(model.now, each.range.offset);
              break;
            }
            case "zero":
              await disk.zero(each.range.offset, each.range.length);
              model.now.fill(0, each.range.offset, each.range.offset + each.range.length);
              break;
            case "read": {
              const { offset, length } = each.range;
              expect(await disk.read(offset, length)).toEqual(model.now.subarray(offset, offset + length));
              break;
            }
            case "mark": {
              if (disk.mode === "through") break;
              const n = ++model.last;
              await disk.flush();
              disk.mark(n);
              const changes = [...Overlay.changes(host, n - 1, n)].map(({ change }) => change);
              expect(changes).toEqual([...disk.changes(n - 1, n)]);
              model.marks.push({ n, content: Buffer.from(model.now), changes });
              break;
            }
            case "commit": {
              image.writes_left = each.writes_left ?? Number.POSITIVE_INFINITY;
              const n = model.commit();
              // An image that fails in the middle: what is committed is kept, and goes in with a later one.
              if (n !== undefined) await disk.commit(n).catch(() => undefined);
              image.writes_left = Number.POSITIVE_INFINITY;
              break;
            }
            case "roll back":
              if (disk.mode === "through") break;
              disk.rollBack(model.committed.n);
              model.rollBack();
              break;
            case "agent dies":
              disk = open(disk.mode);
              break;
            case "host dies":
              if (disk.mode === "through") break;
              // The overlay is gone with its tmpfs; what the log has goes into the image before a VM runs from it.
              host = join(folder.path, randomUUID());
              disk = open("kept");
              await disk.redo(model.log);
              model.rollBack();
              break;
            case "let through":
              await disk.letThrough();
              model.marks = [];
              expect(image.bytes).toEqual(model.now);
              expect(disk.overlay_bytes).toBe(0);
              break;
            case "keep":
              if (disk.mode === "kept") break;
              await disk.keep();
              model.committed = { n: model.last, content: Buffer.from(model.now) };
              model.log = [];
              break;
          }
        }
        expect(await disk.read(0, SIZE)).toEqual(model.now);
        if (disk.mode === "through") return;
        disk = open("kept");
        await commitAgain(disk, model);
        expect(image.bytes).toEqual(model.committed.content);
        disk.rollBack(model.committed.n);
        expect(await disk.read(0, SIZE)).toEqual(model.committed.content);
        expect(await readdir(host)).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });

  it("finds of a segment that an agent did not finish what was whole", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const options = { image, folder: join(folder.path, "disk"), mode: "kept" as const, overlay_bytes_max: 1 << 20 };
    const disk = new Disk(options);
    await disk.write(0, Buffer.alloc(100, 1));
    await disk.write(50, Buffer.alloc(100, 2));
    const [file = ""] = await readdir(options.folder);
    const path = join(options.folder, file);
    truncateSync(path, (await stat(path)).size - 1);
    const found = await new Disk(options).read(0, 200);
    expect(found).toEqual(Buffer.concat([Buffer.alloc(100, 1), Buffer.alloc(100)]));
  });

  it("lets writes wait when too much is not in the image, and not while a stop waits for them", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 200 });
    await disk.write(0, Buffer.alloc(200, 1));
    const seen: string[] = [];
    const second = disk.write(300, Buffer.alloc(100, 2)).then(() => seen.push("second"));
    const closed_out = new AbortController();
    const third = disk.write(300, Buffer.alloc(100, 3), closed_out.signal).catch((error: unknown) => error);
    await disk.flush();
    expect(seen).toEqual([]);
    closed_out.abort(new Error("closed out"));
    expect(await third).toEqual(new Error("closed out"));
    disk.hurry(true);
    await second;
    disk.hurry(false);
    await disk.flush();
    disk.mark(1);
    const { promise: gate, resolve: let_go } = Promise.withResolvers<void>();
    image.gate = gate;
    const committing = disk.commit(1);
    disk.hurry(true);
    await disk.write(400, Buffer.alloc(100, 5));
    // It does not go on like this for ever: room comes by what is committed.
    const too_much = disk.write(500, Buffer.alloc(1, 6)).then(() => seen.push("too much"));
    await disk.flush();
    const fourth = disk.write(300, Buffer.alloc(1, 4)).then(() => seen.push("fourth"));
    expect(seen).toEqual(["second"]);
    let_go();
    await committing;
    await Promise.all([too_much, fourth]);
    expect(image.bytes[300]).toBe(2);
    expect((await disk.read(300, 1))[0]).toBe(4);
  });

  it("lets a stop have all that it waits for where no commit is under way: room would come by its own alone", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 200 });
    // As a guest does that writes back what it had cached: a virtio queue has room for 256 of them.
    let there = 0;
    for (let at = 0; at < 16; at += 1)
      void disk.write(at * 100, Buffer.alloc(100, at + 1)).then(() => {
        there += 1;
      });
    disk.hurry(true);
    const all = { what: "all that a stop waits for to be taken", timeout_ms: 5_000, interval_ms: 1 };
    await waitFor(all, () => (there === 16 ? true : undefined));
    await disk.flush();
    disk.mark(1);
    await disk.commit(1);
    expect(image.bytes[1500]).toBe(16);
  });

  it("brings nothing into the image before what is to be over before, and has room as one whose commit is under way", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 200 });
    await disk.write(0, Buffer.alloc(200, 1));
    await disk.flush();
    disk.mark(1);
    const { promise: other, resolve: over } = Promise.withResolvers<void>();
    const committing = disk.commit(1, other);
    disk.hurry(true);
    await disk.write(200, Buffer.alloc(200, 2));
    const seen: string[] = [];
    const too_much = disk.write(400, Buffer.alloc(1, 3)).then(() => seen.push("too much"));
    await disk.flush();
    expect([image.bytes[0], disk.applied, seen]).toEqual([0, 0, []]);
    over();
    await Promise.all([committing, too_much]);
    expect([image.bytes[0], disk.applied]).toEqual([1, 1]);
  });

  it("lets a stop go on whose commits of before have failed: nobody makes room by them any more", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 200 });
    await disk.write(0, Buffer.alloc(400, 1));
    await disk.flush();
    disk.mark(1);
    image.writes_left = 0;
    const { promise: gate, resolve: let_go } = Promise.withResolvers<void>();
    image.gate = gate;
    const committing = disk.commit(1).catch((error: unknown) => error);
    disk.hurry(true);
    const writing = disk.write(500, Buffer.alloc(100, 2));
    let_go();
    expect(await committing).toBeInstanceOf(Error);
    await writing;
  });

  it("says of no transaction that it is in the image which is taken after an agent has come up again", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    // 58 came to nothing, 59 was not stored; then the agent died, and counts from the log's last: 57.
    disk.mark(58);
    disk.mark(59);
    expect(disk.applied).toBe(58);
    await disk.write(0, Buffer.from([1]));
    await disk.flush();
    disk.mark(58);
    expect(disk.applied).toBe(57);
    await disk.commit(58);
    // Or it counts from nothing: the escrow is another one.
    await disk.write(0, Buffer.from([2]));
    await disk.flush();
    disk.mark(1);
    expect(disk.applied).toBe(0);
  });

  it("answers a flush at once while writes are kept, and passes it on when they go through", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), overlay_bytes_max: 1 << 20 });
    await disk.flush();
    expect([disk.flushes, image.flushes]).toEqual([1, 1]);
    await disk.keep();
    await disk.flush();
    expect([disk.flushes, image.flushes]).toEqual([2, 2]);
  });

  it("needs nothing of earlier transactions any more where what was written since went through", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    await disk.write(0, Buffer.from([1]));
    await disk.flush();
    disk.mark(5);
    // Stored, and that was never heard: protection ended meanwhile.
    expect(disk.applied).toBe(4);
    await disk.letThrough();
    await disk.write(0, Buffer.from([2]));
    await disk.keep();
    await disk.flush();
    disk.mark(6);
    expect(disk.applied).toBe(5);
    await disk.write(1, Buffer.from([3]));
    await disk.flush();
    disk.mark(7);
    disk.mark(8);
    expect(disk.applied).toBe(6);
  });

  it("ends a commit that is under way before anything of it is dropped", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    await disk.write(0, Buffer.from([1]));
    await disk.write(9, Buffer.from([2]));
    await disk.flush();
    disk.mark(1);
    const { promise: gate, resolve: let_go } = Promise.withResolvers<void>();
    image.gate = gate;
    const committing = disk.commit(1);
    const dropping = disk.keep().then(() => disk.rollBack(0));
    let_go();
    await Promise.all([committing, dropping]);
    expect([image.bytes[0], image.bytes[9], disk.overlay_bytes]).toEqual([1, 2, 0]);
  });

  it("lets go of nothing that is committed before the storage has flushed it", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    image.flush = async () => {
      throw new Error("the storage has lost power");
    };
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    await disk.write(0, Buffer.from([1]));
    await disk.flush();
    disk.mark(1);
    await expect(disk.commit(1)).rejects.toThrow("power");
    expect([disk.applied, disk.overlay_bytes]).toEqual([0, expect.any(Number)]);
    expect(disk.overlay_bytes).toBeGreaterThan(0);
  });

  it("brings what is committed to a storage once more that came up again before it had flushed it", async () => {
    await using folder = await temporaryFolder();
    const image = Object.assign(new MemoryBackend(SIZE), { life: 1 });
    const flush = image.flush.bind(image);
    image.flush = async () => {
      // Its machine lost power, and it is reached again: what it had not flushed is gone.
      if (image.life === 1) image.bytes.fill(0);
      image.life = 2;
      await flush();
    };
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    await disk.write(0, Buffer.from([1]));
    await disk.flush();
    disk.mark(1);
    await disk.commit(1);
    expect([image.bytes[0], disk.overlay_bytes]).toEqual([1, 0]);
    image.life = 1;
    await disk.redo([{ offset: 3, length: 1, bytes: Buffer.from([3]) }]);
    expect(image.bytes[3]).toBe(3);
  });

  it("makes no transaction of writes whose flush has not come", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), mode: "kept", overlay_bytes_max: 1 << 20 });
    disk.mark(1);
    await disk.write(0, Buffer.from([1]));
    expect(() => disk.mark(2)).toThrow("flush");
    await disk.flush();
    disk.mark(2);
  });

  it("takes what belonged to a transaction that came to nothing into the one that is taken in its place", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const options = { image, folder: join(folder.path, "disk"), mode: "kept" as const, overlay_bytes_max: 1 << 20 };
    const disk = new Disk(options);
    for (const n of [4, 5, 6]) {
      await disk.write(n, Buffer.from([n]));
      await disk.flush();
      disk.mark(n);
    }
    await disk.write(7, Buffer.from([7]));
    await disk.flush();
    disk.mark(5);
    expect([...Overlay.changes(options.folder, 4, 5)].map(({ n, change }) => [n, change.offset])).toEqual([
      [5, 5],
      [5, 6],
      [5, 7],
    ]);
    const again = new Disk(options);
    await again.commit(5);
    expect([...image.bytes.subarray(4, 8)]).toEqual([4, 5, 6, 7]);
  });

  it("keeps the order of writes that are on their way to the image and those that are kept after them", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "disk"), overlay_bytes_max: 1 << 20 });
    const { promise: gate, resolve: let_go } = Promise.withResolvers<void>();
    image.gate = gate;
    const first = disk.write(0, Buffer.from([1]));
    const keeping = disk.keep();
    const second = disk.write(0, Buffer.from([2]));
    let_go();
    await Promise.all([first, keeping, second]);
    expect(image.bytes[0]).toBe(1);
    expect((await disk.read(0, 1))[0]).toBe(2);
    await disk.flush();
    disk.mark(1);
    await disk.commit(1);
    expect(image.bytes[0]).toBe(2);
  });
});
