import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import type { Backend } from "./backend.ts";
import { NbdClient, NbdRequestError } from "./client.ts";
import { DiskDaemon } from "./daemon.ts";
import { DaemonClient } from "./daemon-client.ts";
import { NBD_SOCKET, WORDS_SOCKET } from "./daemon-words.ts";
import { dial } from "./dial.ts";
import { Fence } from "./fence.ts";
import { Overlay } from "./overlay.ts";
import { Segment } from "./segment.ts";
import { type ServedDisk, serveNbd } from "./server.ts";
import { place } from "./testing/place.ts";
import { temporaryFolder } from "./testing/serving.ts";

const ANSWER_MS = 5_000;
const SOON_MS = 1_000;

describe("the daemon of a host's disks", () => {
  it("brings writes into the image at once, or when they are committed, or never", async () => {
    await using there = await place();
    const { words, qemu } = await there.host("source");
    const vm = await qemu(1);
    await vm.write(0, Buffer.from([1]));
    // Nobody has said whose VM it is.
    expect(await there.read(0)).toBe(0);
    await words.ask({ do: "own", generation: 0, through: true });
    expect(await there.read(0)).toBe(1);
    await vm.write(0, Buffer.from([2]));
    expect(await there.read(0)).toBe(2);
    await words.ask({ do: "own", generation: 1, through: false });
    await vm.write(0, Buffer.from([3]));
    await expect(words.ask({ do: "mark", n: 1 })).rejects.toThrow("flush");
    await vm.flush();
    await words.ask({ do: "mark", n: 1 });
    await vm.write(0, Buffer.from([4]));
    expect(await there.read(0)).toBe(2);
    const { applied } = await words.ask({ do: "commit", n: 1 });
    expect([applied, await there.read(0)]).toEqual([1, 3]);
    await words.ask({ do: "disown" });
    expect(await there.read(0)).toBe(3);
    await vm.close();
  });

  it("puts into an image that is made again nothing of what waited here", async () => {
    await using there = await place();
    const { words, qemu } = await there.host("source");
    await words.ask({ do: "own", generation: 1, through: false });
    const vm = await qemu(1);
    await vm.write(7, Buffer.from([9]));
    await vm.flush();
    await words.ask({ do: "mark", n: 1 });
    await vm.write(8, Buffer.from([9]));
    await words.ask({ do: "redo", generation: 2, segments: {} });
    expect([await there.read(7), await there.read(8)]).toEqual([0, 0]);
    await vm.close();
  });

  it("loses nothing of what is under way when its VM gets another generation", async () => {
    await using there = await place();
    const { words, qemu } = await there.host("source");
    await words.ask({ do: "own", generation: 0, through: true });
    const vm = await qemu(1);
    const writes = Array.from({ length: 64 }, (_, at) => vm.write(at, Buffer.from([at + 1])));
    for (const generation of [1, 2, 3]) await words.ask({ do: "own", generation, through: true });
    await Promise.all(writes);
    for (let at = 0; at < 64; at += 1) expect(await there.read(at)).toBe(at + 1);
    await vm.close();
  });

  it("is one alone in its folder, for as long as it lives", async () => {
    await using folder = await temporaryFolder();
    const both = await Promise.all([DiskDaemon.alone(folder.path), DiskDaemon.alone(folder.path)]);
    const [first, ...more] = both.filter((one) => one !== undefined);
    expect([first === undefined, more]).toEqual([false, []]);
    using other = await DiskDaemon.alone(join(folder.path, "other"));
    expect(other).toBeDefined();
    first?.[Symbol.dispose]();
    using next = await waitFor({ what: "the place to be free", timeout_ms: ANSWER_MS }, () =>
      DiskDaemon.alone(folder.path),
    );
    expect(next).toBeDefined();
  });

  it("makes no transaction of a VM whose writes go through", async () => {
    await using there = await place();
    const { words } = await there.host("source");
    await words.ask({ do: "own", generation: 0, through: true });
    await expect(words.ask({ do: "mark", n: 1 })).rejects.toThrow("through");
  });

  it.each([true, false])(
    "makes the disk again on another host from what a log has, and shuts the old one out (%s)",
    async (heard) => {
      await using there = await place();
      const target = await there.host("target");
      const source = await there.host("source");
      await source.words.ask({ do: "own", generation: 0, through: true });
      await target.words.ask({ do: "own", generation: 1, through: false });
      // The source hears of it, or does not, before it has to make the VM again.
      if (heard) await source.words.ask({ do: "disown" });
      const old = await target.qemu(1);
      await old.write(10, Buffer.from([1, 1]));
      await old.flush();
      await target.words.ask({ do: "mark", n: 1 });
      const log = Overlay.changes(join(target.folder, "disk0"), 0, 1);
      // Committed, and the target is cut off before it is in the image.
      const folder = join(there.root, "redo");
      await mkdir(folder);
      const segment = Segment.create(join(folder, "disk0"));
      for (const { change } of log) segment.write(change.offset, change.bytes ?? Buffer.alloc(0));
      segment.close();
      await source.words.ask({ do: "redo", generation: 2, segments: { disk0: join(folder, "disk0") } });
      expect([await there.read(10), await there.read(11)]).toEqual([1, 1]);
      await source.words.ask({ do: "own", generation: 2, through: true });
      const vm = await source.qemu(1);
      await vm.write(10, Buffer.from([7]));
      // The old host comes back, and does what it was told.
      await expect(target.words.ask({ do: "commit", n: 1 })).rejects.toThrow();
      await expect(target.words.ask({ do: "own", generation: 1, through: true })).rejects.toThrow();
      expect(await there.read(10)).toBe(7);
      await Promise.all([vm.close(), old.close()]);
    },
  );

  it("lets no QEMU do anything that was closed out", async () => {
    await using there = await place();
    const { words, qemu } = await there.host("target");
    await words.ask({ do: "own", generation: 1, through: false });
    const old = await qemu(3);
    const next = await qemu(4);
    await words.ask({ do: "close-out", below: 4 });
    await expect(old.write(0, Buffer.from([1]))).rejects.toThrow("gone");
    await expect(qemu(3)).rejects.toThrow(NbdRequestError);
    await next.write(0, Buffer.from([2]));
    await next.close();
  });

  it("lets go of all disks of a VM at once: one that has got further waits for one whose storage is silent", async () => {
    await using folder = await temporaryFolder();
    await using storage = await silentStorage();
    await using _ = await DiskDaemon.start(
      { folder: folder.path, disks: ["disk0", "disk1"], storage, patience_ms: 4 * SOON_MS },
      () => undefined,
    );
    using words = await DaemonClient.connect(folder.path, ANSWER_MS, () => undefined);
    await words.ask({ do: "own", generation: 1, through: false });
    const socket = await dial({ path: join(folder.path, NBD_SOCKET) }, ANSWER_MS);
    const vm = await NbdClient.open(socket, "disk1@1", ANSWER_MS);
    for (const n of [1, 2]) {
      await vm.write(0, Buffer.of(n));
      await vm.flush();
      await words.ask({ do: "mark", n });
      words.ask({ do: "commit", n }).catch(() => undefined);
    }
    await storage.asked;
    const over = words.ask({ do: "disown" }).then(({ overlay_bytes }) => overlay_bytes);
    expect(await Promise.race([over, delay(SOON_MS, "it waits")])).toBe(0);
    await vm.close();
  });

  it("outlives an agent that is killed before it has read an answer", async () => {
    await using there = await place();
    const { folder, words } = await there.host("target");
    // It reads nothing, not even as it connects.
    const agent = connect(join(folder, WORDS_SOCKET)).pause();
    await once(agent, "connect");
    agent.write(`${JSON.stringify({ id: 1, do: "status" })}\n`);
    // Answered by then: what the daemon hears next is that the connection was reset.
    for (let asked = 0; asked < 10; asked += 1) await words.ask({ do: "status" });
    agent.destroy();
    for (let asked = 0; asked < 10; asked += 1) await words.ask({ do: "status" });
  });

  it("goes on in another life with what it had", async () => {
    await using there = await place();
    const first = await there.host("target");
    await first.words.ask({ do: "own", generation: 1, through: false });
    const vm = await first.qemu(1);
    await vm.write(0, Buffer.from([1]));
    await vm.flush();
    await first.words.ask({ do: "mark", n: 1 });
    await vm.write(1, Buffer.from([2]));
    await first.daemon[Symbol.asyncDispose]();
    await waitFor({ what: "the daemon to be gone", timeout_ms: ANSWER_MS }, () => (vm.gone ? true : undefined));
    const second = await there.host("target");
    const again = await second.qemu(1);
    expect(await again.read(0, 2)).toEqual(Buffer.from([1, 2]));
    await second.words.ask({ do: "own", generation: 1, through: false });
    await second.words.ask({ do: "commit", n: 1 });
    expect([await there.read(0), await there.read(1)]).toEqual([1, 0]);
    await again.close();
  });
});

/** A storage of two disks, of which the second one's writes come to no end. */
async function silentStorage() {
  const asked = Promise.withResolvers<void>();
  const backend = (write: () => Promise<void>): Backend => ({
    size_bytes: 65_536,
    read: async (_, length) => Buffer.alloc(length),
    write,
    zero: write,
    flush: async () => undefined,
    close: async () => undefined,
  });
  const silent = (): Promise<void> => {
    asked.resolve();
    return new Promise(() => undefined);
  };
  const served = (write: () => Promise<void>): ServedDisk => {
    const fence = new Fence({ newest_wins: true });
    return { backend: backend(write), fence, read_only_without_stamp: true };
  };
  const disks = new Map([
    ["disk0", served(async () => undefined)],
    ["disk1", served(silent)],
  ]);
  const server = createServer((socket) => void serveNbd(socket, { disks, onTrouble: () => undefined }));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const close = async (): Promise<void> => void server.close();
  return { host: "127.0.0.1", port, asked: asked.promise, [Symbol.asyncDispose]: close };
}
