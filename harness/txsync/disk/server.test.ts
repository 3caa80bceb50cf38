import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { NbdClient, NbdGoneError, NbdRequestError, RemoteBackend } from "./client.ts";
import { Disk } from "./disk.ts";
import { Fence } from "./fence.ts";
import {
  COMMAND,
  ERROR,
  encodeReply,
  encodeRequest,
  NBD_MAGIC,
  OPTION,
  OPTION_MAGIC,
  REQUEST_BYTES_MAX,
} from "./nbd.ts";
import { MemoryBackend } from "./testing/memory-backend.ts";
import { serving, temporaryFolder } from "./testing/serving.ts";

const SIZE = 4 * 1024 * 1024;

function oneDisk(backend = new MemoryBackend(SIZE), newest_wins = false) {
  const fence = new Fence({ newest_wins });
  return { backend, fence, disks: new Map([["disk0", { backend, fence }]]) };
}

describe("the NBD server", () => {
  it("reads, writes, zeroes and flushes for a client, more than one request has", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const client = await server.client("disk0");
    expect(client.size_bytes).toBe(SIZE);
    const bytes = Buffer.alloc(2 * REQUEST_BYTES_MAX + 513, 7);
    await client.write(512, bytes);
    expect(await client.read(512, bytes.length)).toEqual(bytes);
    await client.zero(1024, 100);
    await client.flush();
    expect(backend.flushes).toBe(1);
    expect(backend.bytes.subarray(1023, 1125)).toEqual(
      Buffer.concat([Buffer.from([7]), Buffer.alloc(100), Buffer.from([7])]),
    );
    const many = await Promise.all(Array.from({ length: 64 }, (_, index) => client.read(index * 512, 512)));
    expect(Buffer.concat(many)).toEqual(backend.bytes.subarray(0, 64 * 512));
    await client.close();
    expect(server.trouble).toEqual([]);
  });

  it("refuses what lies behind the end, and a disk that it does not have", async () => {
    await using folder = await temporaryFolder();
    const { disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const client = await server.client("disk0");
    await expect(client.write(SIZE - 1, Buffer.alloc(2))).rejects.toThrow(NbdRequestError);
    await expect(client.read(SIZE, 1)).rejects.toThrow(NbdRequestError);
    expect(await client.read(0, 1)).toEqual(Buffer.alloc(1));
    await expect(server.client("disk9")).rejects.toThrow(NbdRequestError);
    await client.close();
  });

  it("tells a client of a failure, and says it", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const client = await server.client("disk0");
    backend.writes_left = 0;
    await expect(client.write(0, Buffer.alloc(1))).rejects.toThrow(NbdRequestError);
    expect(server.trouble.join()).toContain("the image takes nothing");
    expect(ERROR.io).toBe(5);
    await client.close();
  });

  it("lets nothing in hand of who is closed out come after", async () => {
    await using folder = await temporaryFolder();
    const { backend, fence, disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const old = await server.client("disk0@1.0");
    const { promise: gate, resolve: let_go } = Promise.withResolvers<void>();
    backend.gate = gate;
    const late = old.write(0, Buffer.alloc(4, 1)).catch((error: unknown) => error);
    await waitFor({ what: "the write to be in hand", timeout_ms: 5_000 }, () =>
      backend.writes_come === 1 ? true : undefined,
    );
    const seen: string[] = [];
    const closed = fence.closeOut({ generation: 2, connection: 0 }).then(() => seen.push("closed"));
    expect(await late).toBeInstanceOf(NbdGoneError);
    expect(seen).toEqual([]);
    let_go();
    backend.gate = undefined;
    await closed;
    // What was in hand is over, one way or the other: whoever rolls back now has the last word.
    await backend.write(0, Buffer.alloc(4, 2));
    const other = await server.client("disk0@2.0");
    expect(await other.read(0, 4)).toEqual(Buffer.alloc(4, 2));
    await expect(server.client("disk0@1.7")).rejects.toThrow(NbdRequestError);
    await other.close();
  });

  it("lets a write that waits for room do nothing once it is closed out", async () => {
    await using folder = await temporaryFolder();
    const image = new MemoryBackend(SIZE);
    const disk = new Disk({ image, folder: join(folder.path, "overlay"), mode: "kept", overlay_bytes_max: 100 });
    const fence = new Fence({ newest_wins: false });
    await using server = await serving(folder.path, new Map([["disk0", { backend: disk, fence }]]));
    const client = await server.client("disk0@1.0");
    await client.write(0, Buffer.alloc(200, 1));
    const waiting = client.write(0, Buffer.alloc(1, 2)).catch((error: unknown) => error);
    await client.flush();
    await fence.closeOut({ generation: 2, connection: 0 });
    expect(await waiting).toBeInstanceOf(NbdGoneError);
    disk.rollBack(0);
    expect(await disk.read(0, 1)).toEqual(Buffer.alloc(1));
  });

  it("closes the earlier connection out before the later one is let in, where the newest wins", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk(new MemoryBackend(SIZE), true);
    await using server = await serving(folder.path, disks);
    const states: string[] = [];
    const remote = await RemoteBackend.open({
      connect: (connection) => server.client(`disk0@3.${connection}`),
      pause: async () => undefined,
      patience_ms: 60_000,
      onState: (state) => states.push(state),
    });
    await remote.write(0, Buffer.from([1]));
    remote.cut();
    await remote.write(1, Buffer.from([2]));
    expect(backend.bytes.subarray(0, 2)).toEqual(Buffer.from([1, 2]));
    expect(states).toEqual(["away", "back"]);
    // Somebody later has it: who comes again with an old stamp is refused for good, and does not try for ever.
    const later = await server.client("disk0@4.1");
    await expect(remote.write(2, Buffer.from([3]))).rejects.toThrow(NbdRequestError);
    expect(backend.bytes[2]).toBe(0);
    await later.close();
    await remote.close();
  });

  it("gives a storage up that does not answer", async () => {
    await using folder = await temporaryFolder();
    const { disks } = oneDisk();
    const server = await serving(folder.path, disks);
    const remote = await RemoteBackend.open({
      connect: (connection) => server.client(`disk0@1.${connection}`),
      pause: async () => undefined,
      patience_ms: 20,
      onState: () => undefined,
    });
    await server[Symbol.asyncDispose]();
    await expect(remote.read(0, 1)).rejects.toThrow("has not answered for 20 ms");
    await remote.close();
  });

  it("ends a connection on which nothing moves, and gives a storage up that is silent again", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const silence = Promise.withResolvers<void>();
    const states: string[] = [];
    const remote = await RemoteBackend.open({
      connect: async (connection) => await NbdClient.open(await server.socket(), `disk0@1.${connection}`, 5_000, 40),
      pause: async () => undefined,
      patience_ms: 40,
      onState: (state, why) => states.push(`${state}: ${why}`),
    });
    backend.gate = silence.promise;
    await expect(remote.read(0, 1)).rejects.toThrow("did not do for 40 ms, twice, what it was asked");
    expect(states[0]).toBe("away: nothing came for as long as is waited");
    silence.resolve();
    expect(await remote.read(0, 1)).toEqual(Buffer.from([0]));
    await remote.close();
  });

  it("gives a silent storage one more chance, and no more, where it lets nobody in", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk();
    await using server = await serving(folder.path, disks);
    const silence = Promise.withResolvers<void>();
    let tries = 0;
    const remote = await RemoteBackend.open({
      connect: async (connection) => {
        if (++tries > 1) throw new Error("nobody answers");
        return await NbdClient.open(await server.socket(), `disk0@1.${connection}`, 5_000, 40);
      },
      pause: async () => undefined,
      patience_ms: 40,
      onState: () => undefined,
    });
    backend.gate = silence.promise;
    await expect(remote.read(0, 1)).rejects.toThrow("has not answered for 40 ms");
    expect(tries).toBe(2);
    silence.resolve();
    await remote.close();
  });

  it("is not brought down by whatever bytes come", async () => {
    await using folder = await temporaryFolder();
    const { backend, disks } = oneDisk(new MemoryBackend(65_536));
    await using server = await serving(folder.path, disks);
    const u32 = (value: number): Buffer => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    const option = (number: number, data: Buffer): Buffer => {
      const head = Buffer.alloc(16);
      head.writeBigUInt64BE(OPTION_MAGIC);
      head.writeUInt32BE(number, 8);
      head.writeUInt32BE(data.length, 12);
      return Buffer.concat([head, data]);
    };
    const goes = option(OPTION.go, Buffer.concat([u32(5), Buffer.from("disk0"), Buffer.alloc(2)]));
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(fc.nat(12), fc.uint8Array({ maxLength: 40 })).map(([n, data]) => option(n, Buffer.from(data))),
      fc.constant(goes),
      fc
        .record({
          flags: fc.constantFrom(0, 1, 2, 64),
          command: fc.oneof(fc.constantFrom(...Object.values(COMMAND)), fc.nat(65_535)),
          handle: fc.constant(9n),
          offset: fc.oneof(fc.nat(70_000), fc.maxSafeNat()),
          length: fc.oneof(fc.nat(4096), fc.nat(0xffffffff)),
        })
        .map(encodeRequest),
    );
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(piece, { maxLength: 8 }), async (greets, pieces) => {
        const socket = await server.socket();
        socket.on("error", () => undefined);
        socket.resume();
        const over = new Promise<void>((resolve) => socket.once("close", () => resolve()));
        socket.end(Buffer.concat([...(greets ? [u32(3), goes] : []), ...pieces]));
        await over;
      }),
      { numRuns: 150 },
    );
    const client = await server.client("disk0");
    await client.write(0, Buffer.from([42]));
    expect(backend.bytes[0]).toBe(42);
    expect([NBD_MAGIC, encodeReply(1n, 0).length]).toEqual([0x4e42444d41474943n, 16]);
    await client.close();
  });
});
