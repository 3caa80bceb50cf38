import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { RecordEncoder } from "../log/index.ts";
import { decodeRequest, encodePages, FRAME_REQUEST } from "../pages/page-frames.ts";
import { EscrowStore } from "./escrow-store.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";

const PAGES = 4096;
const BASE = "00000000000000b0";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "escrow-store-"));
  vi.useFakeTimers({ toFake: ["performance", "setInterval", "clearInterval"] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

test("while a record comes the copy of the base leaves room for it; one that comes no further holds up nothing", async () => {
  const net = new FakeNet();
  const shell = new FakeShell("escrow", net, folder);
  let under_way = 0;
  const waiting: ReturnType<typeof decodeRequest>["runs"][number][] = [];
  net.attach("source", async (_, payload) => {
    if (payload[0] !== FRAME_REQUEST) return;
    for (const run of decodeRequest(payload).runs) {
      under_way += run.count;
      waiting.push(run);
    }
  });
  net.attach("target", async () => undefined);
  const store = await EscrowStore.open(shell);
  const blocks = [{ name: RAM_BLOCK, bytes: PAGES * PAGE_BYTES }];
  store.note("source", { kind: "base-offered", base: BASE, blocks, from: null, final: true, changed: {} } as never);
  const answerAll = async (): Promise<void> => {
    for (const { block, first, count } of waiting.splice(0)) {
      under_way -= count;
      const pages = Array.from({ length: count }, () => null);
      store.pagesCame(Buffer.concat(encodePages({ by: "escrow", base: BASE, block, first, pages })));
    }
    await vi.advanceTimersByTimeAsync(2);
    await settled();
  };
  await answerAll();
  expect(under_way).toBeGreaterThan(256);

  const header = { generation: 1, n: 1, since: "base", mark: 0, acked: 0 } as never;
  await store.pieceCame("target", {
    purpose: "append",
    stream: 1,
    meta: { lineage: "" },
    last: false,
    bytes: new RecordEncoder().header(header),
  } as never);
  await answerAll();
  await answerAll();
  expect(under_way).toBeGreaterThan(64);
  expect(under_way).toBeLessThanOrEqual(128);

  await vi.advanceTimersByTimeAsync(200);
  await answerAll();
  expect(under_way).toBeGreaterThan(256);
  await store.close();
  store.forget();
});

/** All that was sent has come. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
