import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { COMMAND, RECORD } from "../../qemu/stream/format.ts";
import { written } from "../../qemu/stream/testing.ts";
import { TargetFeed } from "./feed.ts";

const BLOCKS = [
  { name: "ram0", bytes: 64 * 4096 },
  { name: "pc.bios", bytes: 8 * 4096 },
];

let folder: string | undefined;
const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/**
 * Stands for a paused QEMU in what it says on the return path: which pages it has, then, in one piece, that it goes on
 * and what its vCPUs wait for (loadvm_postcopy_handle_resume sends the one right behind the other).
 */
async function pausedQemu(requests: Buffer): Promise<string> {
  folder = mkdtempSync(join(tmpdir(), "ferryman-feed-"));
  const path = join(folder, "in");
  const server = createServer((socket: Socket) => {
    socket.on("data", (bytes: Buffer) => {
      expect(bytes[0]).toBe(RECORD.command);
      const command = bytes.readUInt16BE(1);
      if (command === COMMAND.receivedBitmap) {
        const block = bytes.toString("latin1", 6, 6 + (bytes[5] ?? 0));
        socket.write(written({ kind: "received", block, pages: Buffer.of(0b101) }));
      }
      if (command === COMMAND.postcopyResume)
        socket.write(Buffer.concat([written({ kind: "resume-ack", value: 1 }), requests]));
    });
    open.push({ [Symbol.dispose]: () => socket.destroy() });
  });
  open.push({ [Symbol.dispose]: () => server.close() });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

describe("feed", () => {
  it("keeps what QEMU asks for until somebody listens: a vCPU waits for it, and it is asked for once", async () => {
    const waited_for = [
      written({ kind: "request", block: "ram0", start: 7 * 4096, bytes: 4096 }),
      written({ kind: "request", block: null, start: 9 * 4096, bytes: 8192 }),
    ];
    const path = await pausedQemu(Buffer.concat(waited_for));
    const feed = await TargetFeed.connect(path, {
      ram_section_id: 2,
      blocks: BLOCKS,
      onPong: () => undefined,
      onClosed: () => undefined,
    });
    open.push(feed);
    const received = await feed.recover();
    expect([...received.keys()]).toEqual(["ram0", "pc.bios"]);
    const heard: unknown[] = [];
    feed.onRequest = (run) => heard.push(run);
    await waitFor({ what: "both requests", timeout_ms: 2_000 }, () => (heard.length >= 2 ? true : undefined));
    expect(heard).toEqual([
      { block: "ram0", first: 7, count: 1 },
      { block: "ram0", first: 9, count: 2 },
    ]);
  });
});
