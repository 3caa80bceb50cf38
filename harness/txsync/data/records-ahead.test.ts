import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { contentOf, GuestMemory } from "../dirty/testing/memory.ts";
import { BUILD_MS, buildNative, canBuildNative, type NativeTools } from "../dirty/testing/native.ts";
import type { FindMode } from "../dirty/tracker.ts";
import { openTracker, type PagescanTracker } from "../dirty/tracker.ts";
import { decodeNote, encodeNote, FRAME_NOTE } from "../pages/notes.ts";
import { decodePages, FRAME_PAGES } from "../pages/page-frames.ts";
import type { Finished } from "./memory-ahead.ts";
import type { DataCalls, DataConfig } from "./protocol.ts";
import { SourceStore } from "./source-store.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";
import { unpacked } from "./testing/runs.ts";

const PAGES = [600, 12] as const;
const SMALL = "pc.bios";
/** Its page 5 changes, is sent, and changes back. */
const [A, B] = [7, 8];

/** A protected VM that leaves: real memory, real transactions of it, and a target that keeps what it is sent. */
class Leaving implements AsyncDisposable {
  readonly net = new FakeNet();
  readonly guest: GuestMemory;
  readonly source: SourceStore;
  readonly shell: FakeShell;
  readonly tracker: PagescanTracker;
  readonly target = new Map<string, Buffer>();
  #n = 0;
  /** When that page is sent. */
  onPage = Promise.withResolvers<void>();

  private constructor(tools: NativeTools, guest: GuestMemory, tracker: PagescanTracker) {
    this.guest = guest;
    this.tracker = tracker;
    this.shell = new FakeShell("source", this.net, guest.folder);
    const { peers, emit, tell } = this.shell;
    const config: DataConfig = { ...this.shell.config, ram_path: join(guest.folder, "ram"), pagescan: tools.pagescan };
    this.source = new SourceStore({ config, peers, emit, tell });
    // As whoever takes transactions does.
    tracker.onModeChange = (mode) => this.source.findsSurely(mode === "sure");
    this.source.findsSurely(tracker.mode === "sure");
    this.net.attach("source", async (_, payload) => {
      const note = payload[0] === FRAME_NOTE ? decodeNote(payload) : undefined;
      if (note?.kind === "ahead-ready") this.source.aheadReady(note);
    });
    let frames = 0;
    this.net.attach("target", async (_, payload) => {
      if (payload[0] === FRAME_PAGES) {
        const { block, first, pages } = decodePages(payload);
        frames += 1;
        for (const [i, page] of pages.entries())
          this.target.set(`${block}:${first + i}`, Buffer.from(page ?? Buffer.alloc(PAGE_BYTES)));
        if (block === RAM_BLOCK && first <= 5 && first + pages.length > 5) this.onPage.resolve();
      }
      const note = payload[0] === FRAME_NOTE ? decodeNote(payload) : undefined;
      if (note?.kind !== "ahead-offered") return;
      const ready = encodeNote({ kind: "ahead-ready", base: note.base, turn: note.turn, frames });
      this.net.peersOf("target").sendData("source", "bulk", ready);
    });
  }

  static async start(tools: NativeTools, prefer: "auto" | "sure"): Promise<Leaving> {
    const guest = await GuestMemory.start(tools, PAGES);
    await guest.end();
    const { pid, blocks, folder, status_path: shim_status_path } = guest;
    const tracker = await openTracker({ pagescan: tools.pagescan, pid, blocks, folder, shim_status_path, prefer });
    await tracker.arm();
    return new Leaving(tools, guest, tracker);
  }

  /** @returns its spool, which is another one's with the next */
  async take(): Promise<{ readonly mode: FindMode; readonly last: Parameters<SourceStore["recordTaken"]>[0] }> {
    this.#n += 1;
    const { mode } = await this.tracker.take(this.#n, this.#n - 1);
    const { spool } = await this.tracker.collect();
    return { mode, last: spool };
  }

  async took(): Promise<void> {
    this.source.recordTaken((await this.take()).last);
    await this.tracker.release();
  }

  /** One after the other, as long as memory goes ahead. */
  async tookUntil<T>(pushing: Promise<T>): Promise<T> {
    let over = false;
    const end = (): void => {
      over = true;
    };
    pushing.then(end, end);
    while (!over) await this.took();
    return await pushing;
  }

  push(): Promise<ReturnType<DataCalls["pushAhead"]>> {
    const { pid, blocks, folder, status_path: shim_status_path } = this.guest;
    const what = { pid, blocks, folder, shim_status_path, bytes_per_s: 0, memory: true, share: 0.75, most_ms: 60_000 };
    return this.source.pushAhead({ ...what, machine: "pc-q35-10.0", by_records: true });
  }

  /** Page 5 has changed since the last transaction when memory begins to go, and has changed back when that one page has gone. */
  async changesBack(): Promise<{ readonly pushing: ReturnType<Leaving["push"]> }> {
    for (let page = 0; page < 20; page += 1) await this.guest.write(0, page, A);
    await this.took();
    await this.guest.write(0, 5, B);
    const pushing = this.push();
    pushing.catch(() => undefined);
    await this.onPage.promise;
    await this.guest.write(0, 5, A);
    return { pushing };
  }

  /** Whether the target runs with what the guest had in that page, or gets it once more. */
  hasOrGets({ ahead }: Finished, page: number): boolean {
    const stale = unpacked(ahead.stale)[RAM_BLOCK] ?? [];
    const comes = stale.some(([first, count]) => page >= first && page < first + count);
    return comes || this.target.get(`${RAM_BLOCK}:${page}`)?.equals(contentOf(A)) === true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source.giveUpAhead();
    await this.tracker[Symbol.asyncDispose]();
    await this.guest[Symbol.asyncDispose]();
  }
}

describe.skipIf(!canBuildNative())("memory ahead of a protected VM, whose transactions say what changes", () => {
  let tools: NativeTools;
  beforeAll(() => {
    tools = buildNative();
  }, BUILD_MS);
  afterAll(() => tools[Symbol.dispose]());

  test("found the sure way: a page that changed, was sent, and changed back is not what the target runs with", async () => {
    await using vm = await Leaving.start(tools, "sure");
    for (let page = 0; page < 20; page += 1) await vm.guest.write(0, page, A);
    await vm.guest.write(1, 3, A);
    await vm.took();
    await vm.guest.write(0, 5, B);
    await vm.guest.write(1, 3, B);
    const pushing = vm.push();
    await Promise.race([vm.onPage.promise, pushing]);
    await vm.guest.write(0, 5, A);
    await vm.guest.write(1, 3, A);
    const rounds = await vm.tookUntil(pushing);
    const { mode, last } = await vm.take();
    const finished = await vm.source.finishAhead(last);
    expect(mode).toBe("sure");
    expect(vm.hasOrGets(finished, 5)).toBe(true);
    // So nothing goes ahead at all, which is said; and the block that is in no file is read as it stands.
    expect(rounds).toMatchObject({ tracked: true, sent_pages: 0, left_pages: PAGES[0] + PAGES[1] });
    expect(finished.ahead.frames).toBe(0);
    expect(unpacked(finished.ahead.stale)).toMatchObject({ [RAM_BLOCK]: [[0, PAGES[0]]] });
    const small = finished.small.find(({ name }) => name === SMALL)?.content;
    expect(small?.subarray(3 * PAGE_BYTES, 4 * PAGE_BYTES).equals(contentOf(A))).toBe(true);
    expect(vm.shell.events.flatMap((event) => (event.kind === "run.note" ? [event.text] : []))).toEqual([
      expect.stringMatching(/no memory goes ahead.*sure way/),
    ]);
  });

  test.each(["while memory goes", "with the last one"])(
    "the kernel notes no more %s: nothing is made of what went, and the VM goes on",
    async (when) => {
      await using vm = await Leaving.start(tools, "auto");
      if (vm.tracker.mode !== "quick") return;
      const { pushing } = await vm.changesBack();
      if (when === "while memory goes") await vm.tracker.disarm();
      const went = async (): Promise<unknown> => {
        await vm.tookUntil(pushing);
        if (when === "with the last one") await vm.tracker.disarm();
        const { mode, last } = await vm.take();
        expect(mode).toBe("sure");
        return (await vm.source.finishAhead(last)).stale_pages;
      };
      await expect(went()).rejects.toThrow(/stale: transactions are found the sure way/);
    },
  );

  test("found the quick way, it is in the next transaction", async () => {
    await using vm = await Leaving.start(tools, "auto");
    if (vm.tracker.mode !== "quick") return;
    const { pushing } = await vm.changesBack();
    expect(await vm.tookUntil(pushing)).toMatchObject({ tracked: true });
    const { last } = await vm.take();
    expect(vm.hasOrGets(await vm.source.finishAhead(last), 5)).toBe(true);
  });
});
