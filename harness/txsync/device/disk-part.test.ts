import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { transactionNumber } from "../core/index.ts";
import { WORDS_SOCKET } from "../disk/daemon-words.ts";
import { place } from "../disk/testing/place.ts";
import { temporaryFolder } from "../disk/testing/serving.ts";
import { DiskPart, type DiskPartOptions } from "./disk-part.ts";
import { partPieces } from "./piece-source.ts";

const ANSWER_MS = 5_000;
const n = transactionNumber;

function partIn(folder: string, disks = ["disk0"], more: Partial<DiskPartOptions> = {}): DiskPart {
  return new DiskPart({
    folder,
    disks,
    start: () => expect.fail("the daemon is there"),
    lowestQemu: () => 1,
    say: () => undefined,
    ...more,
  });
}

describe("the disks as a part of a transaction", () => {
  it("are let go of by an agent that has come up again beside them and has no VM", async () => {
    await using there = await place();
    const { folder, words } = await there.host("target");
    await words.ask({ do: "own", generation: 1, through: true });
    partIn(folder).follow({ kind: "nobody" });
    await waitFor({ what: "the disks to be let go of", timeout_ms: ANSWER_MS }, async () =>
      (await words.ask({ do: "status" })).through ? undefined : true,
    );
  });

  it("are made again on another host from their pieces, and only from those that are needed", async () => {
    await using there = await place();
    const target = await there.host("target");
    const source = await there.host("source");
    const part = partIn(target.folder);
    part.follow({ kind: "owned", generation: 1, through: false });
    await waitFor({ what: "the disk to be owned", timeout_ms: ANSWER_MS }, async () =>
      (await target.words.ask({ do: "status" })).through ? undefined : true,
    );
    const vm = await target.qemu(1);
    await vm.write(0, Buffer.from([1]));
    await vm.zero(100, 50);
    await vm.flush();
    await part.capture(n(1));
    const first = [...partPieces(part.pieces(n(1), "base"))];
    expect(first.map((piece) => [piece.n, piece.floor])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    await part.capture(n(2));
    // Nothing was written: what is said is that what came before is still needed.
    const second = [...partPieces(part.pieces(n(2), n(1)))];
    expect(second.map((piece) => [piece.n, piece.floor])).toEqual([[2, 0]]);
    // It is one of two there, and not the first of them.
    const restorer = partIn(source.folder, ["disk1", "disk0"]);
    await restorer.fence(2);
    await restorer.restore(n(2), [...first, ...second]);
    expect(await there.read(0)).toBe(1);
    const other = partIn(source.folder);
    // The first host, which comes back, has nothing to say any more.
    part.committed(n(2));
    const again = await source.qemu(1);
    await again.write(0, Buffer.from([5]));
    await again.flush();
    await other.capture(n(3));
    expect([...partPieces(other.pieces(n(3), n(2)))].map((piece) => [piece.n, piece.floor])).toEqual([[3, 2]]);
    expect(await there.read(0)).toBe(1);
    await Promise.all([vm.close(), again.close()]);
  });

  it("are where the next host finds them when the last transaction before the VM leaves has settled", async () => {
    await using there = await place();
    const source = await there.host("source");
    const part = partIn(source.folder);
    part.follow({ kind: "owned", generation: 1, through: false });
    await waitFor({ what: "the disk to be owned", timeout_ms: ANSWER_MS }, async () =>
      (await source.words.ask({ do: "status" })).through ? undefined : true,
    );
    const vm = await source.qemu(1);
    await vm.write(0, Buffer.from([7]));
    await vm.flush();
    await part.capture(n(1));
    expect(await there.read(0)).toBe(0);
    part.committed(n(1));
    await part.settled(n(1));
    expect(await there.read(0)).toBe(7);
    await vm.close();
  });

  it("are let go of only when nobody reads a record's pieces of them any more: its QEMU may die while it is sent", async () => {
    await using there = await place();
    const { folder, qemu, words } = await there.host("target");
    const reading = Promise.withResolvers<void>();
    const part = partIn(folder, ["disk0"], { recordDropped: async () => await reading.promise });
    part.follow({ kind: "owned", generation: 1, through: false });
    const vm = await qemu(1);
    await vm.write(0, Buffer.from([1]));
    await vm.flush();
    await part.capture(n(1));
    const pieces = part.pieces(n(1), "base");
    // The record's pages are on their way, and its pieces come behind them.
    part.follow({ kind: "nobody" });
    await delay(200);
    expect([...partPieces(pieces)].map(({ bytes }) => bytes.at(-1))).toEqual([1]);
    reading.resolve();
    await waitFor({ what: "the disk to be let go of", timeout_ms: ANSWER_MS }, async () =>
      (await words.ask({ do: "status" })).overlay_bytes === 0 ? true : undefined,
    );
    await vm.close();
  });

  it("of a VM that is here no more are let go of by a daemon that was away then, when it is back", async () => {
    await using there = await place();
    const first = await there.host("target");
    await first.words.ask({ do: "own", generation: 1, through: false });
    const vm = await first.qemu(1);
    await vm.write(0, Buffer.from([1]));
    await first.daemon[Symbol.asyncDispose]();
    await waitFor({ what: "the daemon to be gone", timeout_ms: ANSWER_MS }, () => (vm.gone ? true : undefined));
    const part = partIn(first.folder, ["disk0"], { start: () => undefined });
    part.follow({ kind: "nobody" });
    await delay(100);
    // Another VM comes, whose QEMU has to have its disks.
    const ready = part.ready();
    const second = await there.host("target");
    await ready;
    await waitFor({ what: "the old writes to be dropped", timeout_ms: ANSWER_MS }, async () =>
      (await second.words.ask({ do: "status" })).overlay_bytes === 0 ? true : undefined,
    );
  });

  it("have nothing that a QEMU had asked for which is dead, and had no room for by then", async () => {
    await using there = await place();
    const { folder, qemu, words } = await there.host("target");
    const part = partIn(folder, ["disk0"], { dead: () => 2 });
    part.follow({ kind: "owned", generation: 1, through: false });
    const vm = await qemu(1);
    const bytes = Buffer.alloc(65_536, 1);
    const full = async (): Promise<true | undefined> =>
      (await words.ask({ do: "status" })).overlay_bytes > 16 * 1024 ** 2 ? true : undefined;
    while ((await full()) === undefined) await vm.write(0, bytes);
    // More than the server has in hand at once: it does not see that the connection has ended.
    const waiting = Array.from({ length: 20 }, () => vm.write(0, bytes).catch(() => undefined));
    await delay(100);
    vm.cut();
    await Promise.all(waiting);
    part.follow({ kind: "nobody" });
    await waitFor({ what: "the disk to be let go of", timeout_ms: ANSWER_MS }, async () =>
      (await full()) === undefined ? true : undefined,
    );
    await delay(100);
    expect((await words.ask({ do: "status" })).overlay_bytes).toBe(0);
  });

  it("have a daemon that is started again where the storage was away as it was started", async () => {
    await using there = await place();
    const folder = join(there.root, "late");
    let started = 0;
    const part = partIn(folder, ["disk0"], {
      // The first one ends at once: nobody answers it.
      start: () => void (++started === 2 && there.host("late")),
    });
    const began_ms = performance.now();
    await part.ready();
    expect(performance.now() - began_ms).toBeLessThan(10_000);
  });

  it("may lose their daemon with a word unread, and the agent lives", async () => {
    await using folder = await temporaryFolder();
    const server = createServer({ pauseOnConnect: true }, (socket) => void delay(50).then(() => socket.destroy()));
    server.listen(join(folder.path, WORDS_SOCKET));
    await once(server, "listening");
    await expect(partIn(folder.path).capture(n(1))).rejects.toThrow("gone");
    server.close();
  });

  it("are not made again of pieces that are no pieces of theirs", async () => {
    await using there = await place();
    const { folder } = await there.host("source");
    const part = partIn(folder);
    await part.fence(1);
    const piece = { name: "disk", n: n(1), floor: 0, bytes: Buffer.of(1) };
    await expect(part.restore(n(1), [piece])).rejects.toThrow("cut off");
    const strange = Buffer.concat([Buffer.of(5), Buffer.from("disk9"), Buffer.alloc(13)]);
    await expect(part.restore(n(1), [{ ...piece, bytes: strange }])).rejects.toThrow("disk9");
    // It is tried again and again, and each has all of the log's pieces on the host's tmpfs.
    expect(await readdir(join(folder, "redo"))).toEqual([]);
  });
});
