import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import { FaultyFiles, type Operation } from "../log/testing/faulty-files.ts";
import { decodeNote, encodeNote, FRAME_NOTE, type Note } from "../pages/notes.ts";
import { decodePages, encodePages, encodeRequest, FRAME_PAGES, type PageAnswer } from "../pages/page-frames.ts";
import { decodeRecordPiece, encodeRecordPiece, FRAME_RECORD, type RecordPiece } from "../pages/record-frames.ts";
import { BLOCKS } from "./testing/model-guest.ts";
import { Three } from "./testing/three.ts";

let folder: string;
let three: Three;
/** Pieces and notes as they passed. */
let pieces: RecordPiece[];
let notes: Note[];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-escrow-"));
  three = await Three.make(folder, 3);
  pieces = [];
  notes = [];
  three.net.onWay = (_, __, payload) => {
    if (payload[0] === FRAME_RECORD) pieces.push(copyOf(decodeRecordPiece(payload)));
    if (payload[0] === FRAME_NOTE) notes.push(decodeNote(payload));
    return payload;
  };
  three.guest.write(0, 4, 11);
  three.guest.write(1, 1, 12);
});
afterEach(async () => {
  three.net.flow();
  await three.close();
  rmSync(folder, { recursive: true, force: true });
});

const copyOf = (piece: RecordPiece): RecordPiece => ({ ...piece, bytes: Buffer.from(piece.bytes) });
const escrow = () => three.escrow as NonNullable<Three["escrow"]>;
const came = (): number[] =>
  three.escrow_shell.told.flatMap((told) => (told.kind === "record-came" ? [told.header.n] : []));
const until = (what: string, is: () => boolean): Promise<true> =>
  waitFor({ what, timeout_ms: 5_000, interval_ms: 1 }, () => is() || undefined);

/** The pieces of the next record, sent to nobody. */
async function piecesOf(): Promise<RecordPiece[]> {
  pieces = [];
  three.net.onWay = (_, __, payload) => {
    if (payload[0] === FRAME_RECORD) pieces.push(copyOf(decodeRecordPiece(payload)));
    return null;
  };
  three.sender.send(three.record("last"));
  await until("its last piece", () => pieces.at(-1)?.last === true);
  await three.sender.drop();
  three.net.onWay = (_, __, payload) => payload;
  return pieces;
}

describe("records at the escrow", () => {
  it("a record is told of when it is whole, and is part of the log when the core says so", async () => {
    const [...all] = await piecesOf();
    for (const piece of all.slice(0, -1)) await escrow().pieceCame("target", piece);
    expect(await escrow().store(1, 1)).toEqual({ outcome: "missing", why: "its body is not here" });
    expect(came()).toEqual([]);
    await escrow().pieceCame("target", all.at(-1) as RecordPiece);
    expect(came()).toEqual([1]);
    expect(await escrow().store(1, 2)).toMatchObject({ outcome: "missing" });
    expect(await escrow().store(2, 1)).toMatchObject({ outcome: "missing" });
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "stored" });
    expect(escrow().state).toMatchObject({ last: 1, generation: 1 });
    // It is there; a second word for it finds nothing to be stored.
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "missing" });
  });

  it("pieces of an older stream, and pieces behind the last one, change nothing", async () => {
    const first = await piecesOf();
    three.guest.write(0, 8, 13);
    const second = await piecesOf();
    await escrow().pieceCame("target", first[0] as RecordPiece);
    for (const piece of second.slice(0, 2)) await escrow().pieceCame("target", piece);
    for (const piece of first.slice(1)) await escrow().pieceCame("target", piece);
    for (const piece of second.slice(2)) await escrow().pieceCame("target", piece);
    await escrow().pieceCame("target", second.at(-1) as RecordPiece);
    expect(came()).toEqual([2]);
    expect(three.escrow_shell.lines).toEqual([]);
    expect(await escrow().store(1, 2)).toMatchObject({ outcome: "stored" });
    three.last = 2;
    await three.restored();
  });

  it("a second record while the first waits for the core takes its place, and the first is not told of any more", async () => {
    const first = await piecesOf();
    three.guest.write(0, 8, 13);
    const second = await piecesOf();
    for (const piece of first) await escrow().pieceCame("target", piece);
    await escrow().pieceCame("target", second[0] as RecordPiece);
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "missing" });
    // Asked for again, it would be told of and could never be stored.
    escrow().note("target", { kind: "record-again", generation: 1, n: 1 });
    expect(came()).toEqual([1]);
    for (const piece of second.slice(1)) await escrow().pieceCame("target", piece);
    expect(await escrow().store(1, 2)).toMatchObject({ outcome: "stored" });
  });

  it("a record that is garbage is said to be of no use, and the next one is taken", async () => {
    const [first] = await piecesOf();
    await escrow().pieceCame("target", { ...(first as RecordPiece), bytes: Buffer.from("no record") });
    await escrow().pieceCame("target", { ...(first as RecordPiece), bytes: Buffer.alloc(200, 1), last: true });
    expect(three.escrow_shell.lines.join()).toContain("of no use");
    expect(came()).toEqual([]);
    three.next = 2;
    await three.take("base", true);
    await three.restored();
  });

  it("a disk that takes nothing is told of with the record's name, whenever it is noticed, and forgotten when it does", async () => {
    let files: FaultyFiles | undefined;
    three.escrowFiles = (whole) => {
      files = new FaultyFiles(whole);
      return files;
    };
    await three.startEscrow();
    const fails = (...operations: readonly Operation[]): void => {
      if (files !== undefined) files.trouble = (now) => (operations.includes(now) ? { code: "ENOSPC" } : undefined);
    };
    const all = [...(await piecesOf())];
    three.net.onWay = (_, __, payload) => {
      if (payload[0] === FRAME_NOTE) notes.push(decodeNote(payload));
      return payload;
    };
    const failed = () => three.escrow_shell.told.filter(({ kind }) => kind === "record-not-received");
    const record = { kind: "record-not-received", generation: 1, n: 1 } as const;
    // While it comes, at its first piece or later.
    for (const good of [0, 2]) {
      fails();
      for (const piece of all.slice(0, good)) await escrow().pieceCame("target", piece);
      fails("write");
      for (const piece of all.slice(good)) await escrow().pieceCame("target", piece);
      expect(failed()).toMatchObject([{ ...record, why: expect.stringContaining("ENOSPC") }]);
      three.escrow_shell.told.length = 0;
    }
    await until("the words", () => notes.filter(({ kind }) => kind === "record-spoilt").length === 2);
    // When it is to be stored.
    fails();
    for (const piece of all) await escrow().pieceCame("target", piece);
    fails("write");
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "failed", why: expect.stringContaining("ENOSPC") });
    expect(three.escrow_shell.lines).toEqual([]);
    // It works again.
    fails();
    for (const piece of all) await escrow().pieceCame("target", piece);
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "stored" });
    three.last = 1;
    await three.restored();
    // A log that is broken takes nothing, and does not look at it.
    three.guest.write(0, 9, 14);
    const second = [...(await piecesOf())];
    fails("write", "truncate");
    three.escrow_shell.told.length = 0;
    for (const piece of [...second, ...second]) await escrow().pieceCame("target", piece);
    expect(failed()).toMatchObject([
      { ...record, n: 2 },
      { ...record, n: 2, why: expect.stringContaining("the log is broken") },
    ]);
    // By the next one it is mended, and takes what comes then, without anybody's help.
    fails();
    for (const piece of second) await escrow().pieceCame("target", piece);
    await until("the log to be mended", () =>
      three.escrow_shell.lines.some((line) => /the log was broken and is whole again/.test(line)),
    );
    for (const piece of second) await escrow().pieceCame("target", piece);
    expect(await escrow().store(1, 2)).toMatchObject({ outcome: "stored" });
    three.last = 2;
    await three.restored();
  });

  it("a record that comes again over another connection is stored once", async () => {
    await three.take("base", true);
    three.net.breakBetween("target", "escrow");
    three.guest.write(0, 9, 14);
    const record = three.record("last");
    three.sender.send(record);
    await until("the record", () => came().includes(2));
    // Before the core's word the connection breaks, and it is sent anew.
    three.net.breakBetween("target", "escrow");
    three.sender.send(record);
    await until("the record again", () => came().filter((n) => n === 2).length === 2);
    expect(await escrow().store(1, 2)).toMatchObject({ outcome: "stored" });
    three.last = 2;
    await three.restored();
  });

  it("a restart in the middle of one leaves the log as it was", async () => {
    await three.take("base", true);
    three.guest.write(0, 9, 14);
    const second = await piecesOf();
    for (const piece of second.slice(0, -1)) await escrow().pieceCame("target", piece);
    await three.startEscrow();
    expect(escrow().state).toMatchObject({ last: 1 });
    await escrow().pieceCame("target", second.at(-1) as RecordPiece);
    expect(came()).toEqual([]);
    await three.restored();
  });

  it("what is not here any more is asked for anew", async () => {
    escrow().note("target", { kind: "record-again", generation: 1, n: 7 });
    await until("the word", () => notes.some(({ kind }) => kind === "record-spoilt"));
    expect(came()).toEqual([]);
    // What is stored is told of as it was stored: the answer was lost.
    await three.take("base", true);
    const before = came().length;
    escrow().note("target", { kind: "record-again", generation: 1, n: 1 });
    expect(came()).toHaveLength(before + 1);
  });

  it("refuses a question for a transaction that is not the log's last", async () => {
    escrow().note("source", { kind: "log-wanted", question: 1, n: null, since: null });
    await until("a refusal", () => notes.some(({ kind }) => kind === "log-refused"));
    await three.take("base", true);
    escrow().note("source", { kind: "log-wanted", question: 2, n: 9 as never, since: null });
    await until("another", () => notes.filter(({ kind }) => kind === "log-refused").length === 2);
    expect(notes.findLast(({ kind }) => kind === "log-refused")).toMatchObject({
      question: 2,
      why: expect.stringContaining("last transaction is 1"),
    });
  });
});

describe("pages from the escrow", () => {
  const [BASE, OTHER] = ["00112233445566aa", "ffeeddccbbaa9988"];
  const page = (fill: number): Buffer => Buffer.alloc(PAGE_BYTES, fill);
  /** What the target is given for a question, once whatever was on its way has come. */
  async function asked(base: string, first: number, count: number): Promise<readonly PageAnswer[]> {
    const answers: PageAnswer[] = [];
    let ends = 0;
    three.net.onWay = (_, to, payload) => {
      if (payload[0] === FRAME_PAGES && to === "target") answers.push(decodePages(payload));
      if (payload[0] === FRAME_NOTE && decodeNote(payload).kind === "log-grew") ends += 1;
      return payload;
    };
    const runs = [{ block: RAM_BLOCK, first, count }];
    escrow().requested("target", encodeRequest({ by: "target", of: "escrow", base, runs }));
    // Said behind the answers, on both channels that they may have.
    for (const channel of ["urgent", "bulk"] as const)
      three.escrow_shell.peers.sendData("target", channel, encodeNote({ kind: "log-grew", n: 1 }));
    await until("what was said behind them", () => ends === 2);
    return answers;
  }
  const offer = (final: boolean, base = BASE): void =>
    escrow().note("source", { kind: "base-offered", base, blocks: [...BLOCKS], from: null, final, changed: {} });
  const come = (base: string, first: number, ...fills: number[]): void => {
    const pages = fills.map((fill) => (fill === 0 ? null : page(fill)));
    escrow().pagesCame(Buffer.concat(encodePages({ by: "escrow", base, block: RAM_BLOCK, first, pages })));
  };

  it("are of the base that is asked for, each in its place, and only those that are here", async () => {
    offer(true);
    come(BASE, 4, 41, 0);
    come(BASE, 7, 71);
    const answers = await asked(BASE, 3, 6);
    expect(answers.map(({ base, first, pages }) => [base, first, pages.map((one) => one?.[0] ?? 0)])).toEqual([
      [BASE, 4, [41, 0]],
      [BASE, 7, [71]],
    ]);
    expect(await asked(OTHER, 3, 6)).toEqual([]);
  });

  it("are nobody's while their VM may still change them, nor what comes late of another base", async () => {
    offer(false);
    come(BASE, 4, 41);
    expect(await asked(BASE, 4, 1)).toEqual([]);
    offer(true, OTHER);
    come(BASE, 4, 42);
    expect(await asked(OTHER, 4, 1)).toEqual([]);
    come(OTHER, 4, 43);
    expect((await asked(OTHER, 4, 1)).map(({ pages }) => pages[0]?.[0])).toEqual([43]);
  });
});

describe("the sender of records", () => {
  it("a link that stalls holds no spool", async () => {
    for (let page = 10; page < 90; page += 1) three.guest.write(0, page, page);
    // More than may wait in the connection.
    three.net.stall();
    for (let i = 0; i < 3; i += 1) {
      const piece = { purpose: "append", stream: 1, meta: null, last: false, bytes: [Buffer.alloc(900_000)] } as const;
      three.target.peers.sendData("escrow", "bulk", encodeRecordPiece(piece));
    }
    three.sender.send(three.record("base"));
    await new Promise((resolve) => setImmediate(resolve));
    await three.sender.drop();
    three.net.flow();
    expect(came()).toEqual([]);
  });

  it("what is on its way in a connection that stands is not sent twice; where the connection is another one it is", async () => {
    const record = three.record("base");
    const lasts = (): number => pieces.filter(({ last }) => last).length;
    for (let i = 0; i < 5; i += 1) three.sender.send(record);
    await until("the record", () => came().length === 1);
    expect(lasts()).toBe(1);
    // It is known to be there: it is asked for, and not sent.
    three.sender.send(record);
    await until("the word again", () => came().length === 2);
    expect(lasts()).toBe(1);
    three.net.breakBetween("target", "escrow");
    three.sender.send(record);
    await until("the record again", () => lasts() === 2);
  });

  it("what was of no use there is sent again, all of it", async () => {
    const record = three.record("base");
    three.sender.send(record);
    await until("the record", () => came().length === 1);
    three.sender.spoilt();
    three.sender.send(record);
    await until("the record again", () => pieces.filter(({ last }) => last).length === 2);
  });

  it("a spool that cannot be read is said, and tried again when it is asked for again", async () => {
    const record = three.record("base");
    const { content_path } = record.spool;
    three.sender.send({ ...record, spool: { ...record.spool, content_path: `${content_path}.gone` } });
    await until("the word", () => three.target.lines.length > 0);
    expect(three.target.lines.join()).toContain("was not sent");
    three.sender.send(record);
    await until("the record", () => came().length === 1);
    expect(await escrow().store(1, 1)).toMatchObject({ outcome: "stored" });
  });

  it("sends nothing where nobody is reached", async () => {
    three.net.cut("target", "escrow");
    three.sender.send(three.record("base"));
    await three.sender.drop();
    expect(pieces).toEqual([]);
    three.net.heal("target", "escrow");
  });
});
