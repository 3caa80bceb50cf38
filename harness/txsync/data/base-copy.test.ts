import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { PageRun } from "../dirty/pages.ts";
import { BaseCopy } from "./base-copy.ts";
import { forgetBase, loadBase, saveBase } from "./kept-base.ts";

const RAM_PAGES = 600;
const BLOCKS = [
  { name: RAM_BLOCK, bytes: RAM_PAGES * PAGE_BYTES },
  { name: "pc.bios", bytes: 20 * PAGE_BYTES },
];
const ZEROS = Buffer.alloc(PAGE_BYTES);

let root: string;
let copies = 0;

beforeAll(() => {
  root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "base-copy-test-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Whoever has the base: a page is told by one byte, 0 is the zero page. */
class Server {
  readonly fills = new Map(BLOCKS.map(({ name, bytes }) => [name, Buffer.alloc(bytes / PAGE_BYTES, 1)]));
  readonly asked: PageRun[] = [];
  copy: BaseCopy | undefined;
  answers = true;
  /** Answers of an earlier one do not come any more. */
  era = 0;
  progress = 0;

  begin(): BaseCopy {
    copies += 1;
    this.copy = BaseCopy.begin({
      path: join(root, `copy-${copies}`),
      blocks: BLOCKS,
      ask: (runs) => {
        this.asked.push(...runs);
        const era = this.era;
        if (this.answers) setImmediate(() => era === this.era && this.answer(runs));
        return true;
      },
      onProgress: () => {
        this.progress += 1;
      },
    });
    return this.copy;
  }

  page(block: string, page: number): Buffer | null {
    const fill = this.fills.get(block)?.[page] ?? 0;
    return fill === 0 ? null : Buffer.alloc(PAGE_BYTES, fill);
  }

  answer(runs: readonly PageRun[]): void {
    for (const { block, first, count } of runs) {
      const pages = Array.from({ length: count }, (_, i) => this.page(block, first + i));
      const answer = { block, first, pages };
      this.copy?.answered(answer);
    }
  }

  async whole(): Promise<void> {
    await waitFor(
      { what: "the whole base", timeout_ms: 10_000, interval_ms: 1 },
      () => this.copy?.complete || undefined,
    );
  }

  expectRight(): void {
    const { copy } = this;
    if (copy === undefined) throw new Error("nothing was copied");
    for (const { name, bytes } of BLOCKS) {
      const content =
        name === RAM_BLOCK ? readFileSync(copy.path) : copy.small.find((block) => block.name === name)?.content;
      expect(content?.length).toBe(bytes);
      for (let page = 0; page < bytes / PAGE_BYTES; page += 1) {
        const got = content?.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) ?? ZEROS;
        expect(got.equals(this.page(name, page) ?? ZEROS), `${name} page ${page}`).toBe(true);
      }
    }
  }
}

describe("a copy of the base", () => {
  it("comes from the end, whole and right; zeros stay holes", async () => {
    const server = new Server();
    server.fills.get(RAM_BLOCK)?.fill(0, 100, 500);
    const copy = server.begin();
    await server.whole();
    expect(server.asked[0]?.first).toBe(RAM_PAGES - 64);
    server.expectRight();
    expect(statSync(copy.path).blocks * 512).toBeLessThanOrEqual(200 * PAGE_BYTES);
    expect([copy.share, copy.heldFrom()]).toEqual([1, { [RAM_BLOCK]: 0, "pc.bios": 0 }]);
    const read = copy.read({ block: RAM_BLOCK, first: 98, count: 4 });
    expect(read.map((page) => page?.[0] ?? page)).toEqual([1, 1, null, null]);
    expect(copy.read({ block: "pc.bios", first: 19, count: 2 })).toEqual([Buffer.alloc(PAGE_BYTES, 1), undefined]);
    copy.close();
    expect(existsSync(copy.path)).toBe(false);
  });

  it("fetches again what is discarded, and has it as it is now: with zeros where there was something", async () => {
    const server = new Server();
    const copy = server.begin();
    await server.whole();
    for (const [block, fills] of server.fills) {
      fills.fill(0, 3, 7);
      fills.fill(9, 10, 12);
      copy.discard([[block, 2, 12]]);
      expect(copy.complete).toBe(false);
      await server.whole();
    }
    server.expectRight();
    copy.close();
  });

  it("ends with the base as it is, whatever changed on the way", async () => {
    const change = fc.record({
      block: fc.constantFrom(...BLOCKS.map(({ name }) => name)),
      first: fc.nat(RAM_PAGES - 1),
      count: fc.integer({ min: 1, max: 200 }),
      fill: fc.nat(3),
      /** How much of the base is there before it happens. */
      share: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 6 }), async (changes) => {
        const server = new Server();
        const copy = server.begin();
        for (const { block, first, count, fill, share } of changes) {
          await waitFor({ what: "a part of the base", timeout_ms: 10_000, interval_ms: 0 }, () =>
            copy.share >= share ? true : undefined,
          );
          server.era += 1;
          server.fills
            .get(block)
            ?.subarray(first, first + count)
            .fill(fill);
          copy.discard([[block, first, count]]);
        }
        await server.whole();
        server.expectRight();
        copy.close();
      }),
      { numRuns: 60 },
    );
  });

  it("never gives out a page that it has not", () => {
    const server = new Server();
    server.answers = false;
    const copy = server.begin();
    for (let first = 0; first < RAM_PAGES; first += 20) {
      const run = { block: RAM_BLOCK, first, count: 20 };
      expect(copy.read(run)).toEqual(Array.from({ length: 20 }, () => undefined));
      server.answer([run]);
      expect(copy.read(run).map((page) => page?.[0])).toEqual(Array.from({ length: 20 }, () => 1));
    }
    copy.close();
  });

  it("takes nothing more once it is closed", () => {
    const server = new Server();
    server.answers = false;
    const copy = server.begin();
    const runs = Array.from({ length: 9 }, (_, n) => ({ block: RAM_BLOCK, first: n * 60, count: 60 }));
    server.answer(runs.slice(0, 5));
    copy.close();
    server.answer(runs);
    expect(existsSync(copy.path)).toBe(false);
  });

  it("is whole again in another life, from its file and what was kept beside it", async () => {
    const server = new Server();
    server.fills.get(RAM_BLOCK)?.fill(7, 100, 200).fill(0, 200, 300);
    server.fills.get("pc.bios")?.fill(9);
    const first = server.begin();
    await server.whole();
    saveBase(root, { base: "b1", blocks: first.blocks, small: first.small });
    const kept = loadBase(root);
    expect(kept).toMatchObject({ base: "b1", blocks: BLOCKS });
    const again = BaseCopy.reopen(
      { path: first.path, blocks: kept?.blocks ?? [], ask: () => false, onProgress: () => undefined },
      kept?.small ?? [],
    );
    expect(again.complete).toBe(true);
    server.copy = again;
    server.expectRight();
    again.close();
    forgetBase(root);
    expect(loadBase(root)).toBeUndefined();
    expect(() =>
      BaseCopy.reopen({ path: first.path, blocks: BLOCKS, ask: () => false, onProgress: () => undefined }, []),
    ).toThrow(/ENOENT/);
  });
});
