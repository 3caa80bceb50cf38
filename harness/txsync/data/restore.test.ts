import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { decodeNote, FRAME_NOTE, type Note } from "../pages/notes.ts";
import { decodeRequest, encodePages } from "../pages/page-frames.ts";
import { decodeRecordPiece, encodeRecordPiece, FRAME_RECORD, type RecordPiece } from "../pages/record-frames.ts";
import type { BaseOf } from "./protocol.ts";
import { basePath, SourceStore } from "./source-store.ts";
import { TargetStore } from "./target-store.ts";
import { FakeShell } from "./testing/fake-net.ts";
import { BLOCKS } from "./testing/model-guest.ts";
import { BASE, Three } from "./testing/three.ts";

let folder: string;
let three: Three;
let pieces: RecordPiece[];
let notes: Note[];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-restore-"));
  three = await Three.make(folder, 5);
  pieces = [];
  notes = [];
  three.net.onWay = seen;
  three.guest.write(0, 4, 11);
  three.guest.write(1, 1, 12);
});
afterEach(async () => {
  three.net.onWay = (_, __, payload) => payload;
  await three.close();
  rmSync(folder, { recursive: true, force: true });
});

function seen(_: unknown, __: unknown, payload: Buffer): Buffer {
  if (payload[0] === FRAME_RECORD) pieces.push(decodeRecordPiece(payload));
  if (payload[0] === FRAME_NOTE) notes.push(decodeNote(payload));
  return payload;
}

const until = (what: string, is: () => boolean): Promise<true> =>
  waitFor({ what, timeout_ms: 5_000, interval_ms: 1 }, () => is() || undefined);
const answers = (): number => pieces.filter(({ purpose, last }) => purpose === "answer" && last).length;
const base = (): Buffer => readFileSync(basePath(join(three.folder, "source")));
/** Changes answers of the escrow on their way. */
function onAnswer(change: (piece: RecordPiece) => RecordPiece | null): void {
  three.net.onWay = (from, to, payload) => {
    seen(from, to, payload);
    if (payload[0] !== FRAME_RECORD) return payload;
    const piece = decodeRecordPiece(payload);
    if (piece.purpose !== "answer") return payload;
    const changed = change(piece);
    return changed === null
      ? null
      : Buffer.concat(encodeRecordPiece({ ...changed, bytes: [changed.bytes] }).map((part) => Buffer.from(part)));
  };
}

describe("what the escrow's log has, laid over", () => {
  it("pieces of another question are nobody's", async () => {
    await three.take("base", true);
    onAnswer((piece) => ({ ...piece, stream: piece.stream + 1 }));
    const restoring = three.source.restore(1);
    await until("an answer", () => answers() > 0);
    three.net.onWay = seen;
    await restoring;
    await three.restored();
  });

  it("an answer that is cut off is asked for again, and again where the connection is another one", async () => {
    await three.take("base", true);
    let cuts = 0;
    onAnswer((piece) => {
      if (!piece.last || cuts === 3) return piece;
      cuts += 1;
      three.net.breakBetween("source", "escrow");
      return null;
    });
    await three.restored();
    expect(cuts).toBe(3);
  });

  it("an answer that is garbage is refused, not laid over", async () => {
    await three.take("base", true);
    const before = base();
    onAnswer((piece) => ({ ...piece, bytes: Buffer.alloc(piece.bytes.length, 1) }));
    await expect(three.source.restore(1)).rejects.toThrow("of no use");
    expect(base().equals(before)).toBe(true);
    three.net.onWay = seen;
    await three.restored();
  });

  it("what goes on from another log than ours is not laid over; that log is asked for whole", async () => {
    await three.take("base", true);
    await three.restored();
    three.guest.write(0, 9, 13);
    await three.take("last", true);
    let asked = 0;
    onAnswer((piece) => {
      if (piece.meta === null || asked++ > 0) return piece;
      return { ...piece, meta: { lineage: "ffffffffffffffff" } };
    });
    await expect(three.source.restore(2)).rejects.toThrow("goes on from 1");
    await three.restored();
  });

  it("a record that is not the log's last is refused in words", async () => {
    await three.take("base", true);
    await expect(three.source.restore(7)).rejects.toThrow("last transaction is 1, not 7");
  });

  it("a restore that is given up ends at once, and the next one is right", async () => {
    await three.take("base", true);
    onAnswer(() => null);
    const restoring = three.source.restore(1);
    await until("an answer", () => answers() > 0);
    three.source.abortRestore();
    await expect(restoring).rejects.toThrow("not wanted");
    three.net.onWay = seen;
    await three.restored();
  });

  it("an escrow that says nothing is waited for as long as a restore may, and named", async () => {
    await three.take("base", true);
    three.net.cut("source", "escrow");
    await expect(three.source.restore(1)).rejects.toThrow("the escrow said nothing more");
    three.net.heal("source", "escrow");
    await three.restored();
  });
});

describe("the base at the source", () => {
  /** A source that was not told that it may lay anything over. */
  function fresh(compare = false): SourceStore {
    three.source.forget();
    writeFileSync(basePath(join(three.folder, "source")), three.guest.base[0] as Buffer);
    const shell = new FakeShell("source", three.net, join(three.folder, "source"));
    three.source_shell = shell;
    three.source = new SourceStore(shell);
    const small = [{ name: BLOCKS[1].name, content: Buffer.from(three.guest.base[1] as Buffer) }];
    three.source.haveBase({ base: BASE, blocks: BLOCKS, small, compare });
    three.net.attach("source", (_, payload) => {
      if (payload[0] === FRAME_RECORD) three.source.pieceCame(decodeRecordPiece(payload));
      if (payload[0] !== FRAME_NOTE) return undefined;
      const note = decodeNote(payload);
      if (note.kind === "log-grew") three.source.logGrew();
      if (note.kind === "log-refused") three.source.refused(note.question, note.why);
      return undefined;
    });
    return three.source;
  }

  it("nothing is laid over it before it may be; then what was committed meanwhile", async () => {
    const source = fresh();
    const before = base();
    await three.take("base", true);
    three.guest.write(0, 5, 21);
    await three.take("last", true);
    await until("the word of both", () => notes.filter(({ kind }) => kind === "log-grew").length >= 4);
    expect(base().equals(before)).toBe(true);
    expect(source.restorePackage().small[0]?.content.equals(three.guest.base[1] as Buffer)).toBe(true);
    source.mayLayOver();
    await until("the records", () => base()[5 * PAGE_BYTES] === 21);
    expect(() => source.restorePackage()).toThrow("the package alone is not the VM");
    await three.restored();
  });

  it("touched once, it is touched for every later life, until there is another one", async () => {
    await three.take("base", true);
    await until("an answer", () => answers() > 0);
    expect(() => three.source.restorePackage()).toThrow("not the VM any more");
    three.startSource();
    expect(() => three.source.restorePackage()).toThrow("not the VM any more");
    three.source.forget();
    expect(() => three.source.restorePackage()).toThrow("no base");
    // Its life ended between the base and what stands beside it: that says nothing of the next base.
    writeFileSync(join(three.folder, "source", "base-laid-over"), "");
    writeFileSync(basePath(join(three.folder, "source")), three.guest.base[0] as Buffer);
    const next = new SourceStore(three.source_shell);
    next.haveBase({ base: BASE, blocks: BLOCKS, small: [], compare: true });
    expect(next.restorePackage().small).toEqual([]);
  });

  it("records are laid over it by themselves again when a restore was given up, or failed", async () => {
    await three.take("base", true);
    await expect(three.source.restore(9)).rejects.toThrow("not 9");
    three.guest.write(0, 5, 31);
    await three.take("last", true);
    await until("the second record", () => base()[5 * PAGE_BYTES] === 31);
    await three.restored();
    // A VM may run on it from here on: nothing is laid over it, until it is known that none does.
    const before = base();
    three.guest.write(0, 5, 32);
    await three.take("last", true);
    await until("the word of it", () => notes.some((note) => note.kind === "log-grew" && note.n === 3));
    // Not either where the word that it may be comes only now: whoever gave it may have waited for something first.
    const asked = notes.filter(({ kind }) => kind === "log-wanted").length;
    three.source.mayLayOver();
    three.guest.write(0, 5, 33);
    await three.take("last", true);
    await until("the word of it", () => notes.some((note) => note.kind === "log-grew" && note.n === 4));
    expect(notes.filter(({ kind }) => kind === "log-wanted")).toHaveLength(asked);
    expect(base().equals(before)).toBe(true);
    three.source.abortRestore();
    await until("the third and the fourth record", () => base()[5 * PAGE_BYTES] === 33);
    await three.restored();
  });

  it("a tmpfs that is full is said, and nothing is lost by it", async () => {
    const source = fresh();
    rmSync(basePath(join(three.folder, "source")));
    await three.take("base", true);
    await expect(source.restore(1)).rejects.toThrow("ENOENT");
    source.mayLayOver();
    source.logGrew();
    await until("the word", () => three.source_shell.lines.length > 0);
    expect(three.source_shell.lines[0]).toContain("was not laid over");
  });
});

describe("a restore from the escrow's copy of the base", () => {
  let shell: FakeShell;
  let target: TargetStore;
  const what: BaseOf = { base: BASE, blocks: BLOCKS };
  /** What the escrow is asked for is answered from the guest's base, unless it is silent. */
  let silent: boolean;
  beforeEach(async () => {
    silent = false;
    await three.take("base", true);
    await three.sender.drop();
    shell = new FakeShell("target", three.net, join(three.folder, "target"), 30);
    target = new TargetStore(shell);
    three.net.attach("target", (from, payload) => {
      if (payload[0] === FRAME_RECORD) target.pieceCame(decodeRecordPiece(payload));
      else if (payload[0] === FRAME_NOTE) {
        const note = decodeNote(payload);
        if (note.kind === "log-refused") target.refused(note.question, note.why);
      } else target.pagesCame(from, payload);
      return undefined;
    });
    const escrow = three.escrow as NonNullable<Three["escrow"]>;
    three.net.attach("escrow", (from, payload) => {
      if (payload[0] === FRAME_NOTE) escrow.note(from, decodeNote(payload));
      else if (!silent) {
        const { by, base: of, runs } = decodeRequest(payload);
        for (const { block, first, count } of runs) {
          const content = three.guest.base[BLOCKS.findIndex(({ name }) => name === block)] as Buffer;
          const pages = Array.from({ length: count }, (_, i) =>
            content.subarray((first + i) * PAGE_BYTES, (first + i + 1) * PAGE_BYTES),
          );
          const frame = encodePages({ by, base: of, block, first, pages });
          three.escrow_shell.peers.sendData(from, "bulk", frame);
        }
      }
      return undefined;
    });
  });

  async function right(): Promise<void> {
    const got = await target.restore(what, 1);
    const [ram, small] = three.moments.get(1) ?? [];
    expect(readFileSync(shell.config.ram_path).equals(ram as Buffer)).toBe(true);
    expect(Buffer.from(got.small[0]?.content ?? []).equals(small as Buffer)).toBe(true);
    expect(existsSync(join(shell.config.memory_folder, "base-fetched"))).toBe(false);
  }

  it("is what the memory was", right);

  it("an escrow that sends nothing ends it, by name, and leaves no file", async () => {
    silent = true;
    await expect(target.restore(what, 1)).rejects.toThrow("no more of the base");
    expect(existsSync(join(shell.config.memory_folder, "base-fetched"))).toBe(false);
    silent = false;
    await right();
  });

  it("one that is given up takes nothing from the one that follows it at once", async () => {
    silent = true;
    const given_up = target.restore(what, 1);
    given_up.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    target.abortRestore();
    silent = false;
    await right();
    await expect(given_up).rejects.toThrow("not wanted");
  });

  it("one that the next one follows without a word is given up likewise", async () => {
    silent = true;
    const first = target.restore(what, 1);
    first.catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    silent = false;
    await right();
    await expect(first).rejects.toThrow("not wanted");
  });

  it("one that was given up before it could begin does not begin", async () => {
    silent = true;
    const both = [target.restore(what, 1), target.restore(what, 1)];
    target.abortRestore();
    for (const one of await Promise.allSettled(both)) expect(one.status).toBe("rejected");
    expect(existsSync(join(shell.config.memory_folder, "base-fetched"))).toBe(false);
    silent = false;
    await right();
  });

  it("a log that refuses ends it", async () => {
    await expect(target.restore(what, 5)).rejects.toThrow("not 5");
  });
});
