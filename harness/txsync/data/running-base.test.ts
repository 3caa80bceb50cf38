import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { waitFor } from "../../base/wait.ts";
import { TransactionLog } from "../log/index.ts";
import { decodeNote, FRAME_NOTE, type Note } from "../pages/notes.ts";
import { encodeRequest, FRAME_PAGES, FRAME_REQUEST, wantedBy } from "../pages/page-frames.ts";
import { decodeRecordPiece, FRAME_RECORD } from "../pages/record-frames.ts";
import { EscrowStore } from "./escrow-store.ts";
import { RecordSender } from "./record-sender.ts";
import { RunningBase } from "./running-base.ts";
import { TargetStore } from "./target-store.ts";
import { FakeNet, FakeShell } from "./testing/fake-net.ts";
import { BLOCKS, ModelGuest, type Moment, numbered } from "./testing/model-guest.ts";

const BASE = "00112233445566aa";

let folder: string;
let net: FakeNet;
let guest: ModelGuest;
let host: FakeShell;
let base: RunningBase;
let sender: RecordSender;
let escrow_shell: FakeShell;
let escrow: EscrowStore;
let held: Extract<Note, { kind: "base-held" }> | undefined;
/** The guest writes before each answer leaves. */
let onPages: () => void;

const until = (what: string, is: () => boolean): Promise<true> =>
  waitFor({ what, timeout_ms: 5_000, interval_ms: 1 }, () => is() || undefined);

/** Its RAM file, as it is now. */
function run(): void {
  writeFileSync(host.config.ram_path, guest.memory[0] as Buffer);
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ferryman-running-"));
  net = new FakeNet();
  const shellOf = (role: "source" | "target" | "escrow"): FakeShell => {
    mkdirSync(join(folder, role), { recursive: true });
    return new FakeShell(role, net, join(folder, role));
  };
  host = shellOf("source");
  guest = new ModelGuest(join(folder, "source"), 5);
  run();
  base = new RunningBase(host);
  sender = new RecordSender(host);
  held = undefined;
  onPages = () => undefined;
  escrow_shell = shellOf("escrow");
  escrow = await EscrowStore.open(escrow_shell);
  // The core of this escrow always says yes.
  escrow_shell.onTell = (event) => {
    if (event.kind === "base-offered") void escrow.adopt(event.from);
  };
  net.attach("source", (from, payload) => {
    if (payload[0] === FRAME_REQUEST && base.isOf(payload)) return base.requested(from, payload);
    if (payload[0] !== FRAME_NOTE) return undefined;
    const note = decodeNote(payload);
    if (note.kind === "record-here") sender.here(note.generation, note.n);
    if (note.kind === "base-held") {
      held = note;
      base.baseHeld(note);
    }
    return undefined;
  });
  net.attach("escrow", (from, payload) => {
    if (payload[0] === FRAME_RECORD) return escrow.pieceCame(from, decodeRecordPiece(payload));
    if (payload[0] === FRAME_NOTE) escrow.note(from, decodeNote(payload));
    else if (payload[0] === FRAME_REQUEST) escrow.requested(from, payload);
    else escrow.pagesCame(payload);
    return undefined;
  });
  net.onWay = (from, _, payload) => {
    if (from === "source" && payload[0] === FRAME_PAGES) onPages();
    return payload;
  };
});

afterEach(async () => {
  await sender.drop();
  base.end();
  escrow.forget();
  await escrow.close();
  rmSync(folder, { recursive: true, force: true });
});

function offered(name: string, learn = false): Parameters<RunningBase["begin"]>[0] {
  const small = [{ name: BLOCKS[1].name, content: Buffer.from(guest.memory[1] as Buffer) }];
  return { base: name, machine: "pc-q35-10.0", blocks: BLOCKS, small, learn, serve: true };
}

async function stored(n: number, since: "base" | number, of = guest, generation = 1): Promise<Moment> {
  const record = of.take({ ...numbered(generation, n), since: since as never });
  const moment = of.moment();
  await until("the record", () => {
    sender.send(record);
    return escrow_shell.told.some((one) => one.kind === "record-came" && one.header.n === n);
  });
  expect(await escrow.store(generation, n)).toMatchObject({ outcome: "stored" });
  await sender.drop();
  return moment;
}

/** On the third host, which never had anything of it. */
async function restoredElsewhere(name: string, n: number): Promise<Moment> {
  mkdirSync(join(folder, "target"), { recursive: true });
  const shell = new FakeShell("target", net, join(folder, "target"));
  const target = new TargetStore(shell);
  net.attach("target", (from, payload) => {
    if (payload[0] === FRAME_PAGES && wantedBy(payload) === "target") target.pagesCame(from, payload);
    if (payload[0] === FRAME_RECORD) target.pieceCame(decodeRecordPiece(payload));
    if (payload[0] === FRAME_NOTE) {
      const note = decodeNote(payload);
      if (note.kind === "log-refused") target.refused(note.question, note.why);
    }
    return undefined;
  });
  const { small } = await target.restore({ base: name, blocks: held?.layout?.blocks ?? [] }, n as never);
  return [readFileSync(shell.config.ram_path), Buffer.from(small[0]?.content ?? [])];
}

const NEXT = "ffeeddccbbaa9988";

/** It is protected, has written, and leaves with transaction 2. */
async function leaves(): Promise<Moment> {
  base.begin(offered(BASE));
  await until("the escrow to have all of it", () => held?.complete === true);
  guest.write(0, 3, 33);
  guest.write(1, 2, 34);
  await stored(1, "base");
  guest.write(0, 3, 0);
  guest.write(0, 60, 35);
  return await stored(2, 1);
}

const follows = (n: number, name = BASE): void =>
  escrow.note("target", { kind: "base-follows", base: NEXT, of: { base: name, generation: 1, n } });

describe("the base of a VM that left the host on which it was protected", () => {
  it("is made of what the escrow has, and records of another QEMU are relative to it", async () => {
    const moment = await leaves();
    follows(2);
    await until("the escrow to have made it", () => held?.base === NEXT && held.complete);
    expect(escrow.state).toMatchObject({ last: 2, generation: 1 });
    const at_switchover = await restoredElsewhere(NEXT, 2);
    expect(at_switchover.map((content, i) => content.equals(moment[i] as Buffer))).toEqual([true, true]);
    const there = new ModelGuest(join(folder, "source"), 5);
    for (const [i, content] of moment.entries()) there.memory[i]?.set(content);
    there.write(0, 7, 36);
    there.write(1, 2, 37);
    await stored(3, 2, there, 2);
    there.write(0, 3, 38);
    const later = await stored(4, 3, there, 2);
    const got = await restoredElsewhere(NEXT, 4);
    expect(got.map((content, i) => content.equals(later[i] as Buffer))).toEqual([true, true]);
    await expect(restoredElsewhere(BASE, 4)).rejects.toThrow();
  });

  it("is not made of anything else than what the VM left with", async () => {
    const moment = await leaves();
    follows(1);
    follows(2, "0000000000000000");
    escrow.tell();
    await until("it to be said", () => held !== undefined);
    expect(held?.base).toBe(BASE);
    expect((await restoredElsewhere(BASE, 2))[0]?.equals(moment[0] as Buffer)).toBe(true);
  });

  it("may be left in the middle: it restores the same, and is begun again", async () => {
    const moment = await leaves();
    const failing = vi
      .spyOn(TransactionLog.prototype, "beginWith")
      .mockRejectedValueOnce(new Error("the disk is full"));
    follows(2);
    await until("it to fail", () => failing.mock.settledResults.length > 0);
    expect((await restoredElsewhere(BASE, 2)).map((content, i) => content.equals(moment[i] as Buffer))).toEqual([
      true,
      true,
    ]);
    await until("it to be made", () => {
      follows(2);
      return held?.base === NEXT;
    });
    expect((await restoredElsewhere(NEXT, 2))[0]?.equals(moment[0] as Buffer)).toBe(true);
  });

  it("is there again when the escrow's agent comes up again", async () => {
    const moment = await leaves();
    follows(2);
    await until("the escrow to have made it", () => held?.base === NEXT);
    await escrow.close();
    held = undefined;
    escrow = await EscrowStore.open(escrow_shell);
    escrow.begin();
    await until("it to be said", () => held?.base === NEXT && held.complete);
    const got = await restoredElsewhere(NEXT, 2);
    expect(got.map((content, i) => content.equals(moment[i] as Buffer))).toEqual([true, true]);
  });
});

describe("the base of a VM that runs", () => {
  it("is copied while the guest writes, and with the first record gives its memory at any host", async () => {
    let writes = 0;
    onPages = () => {
      writes += 1;
      for (const page of [3, 50, 95, writes]) guest.write(0, page, 1000 + writes);
      guest.write(1, writes, 77);
      run();
    };
    base.begin(offered(BASE));
    await until("the escrow to have all of it", () => held?.complete === true);
    expect(writes).toBeGreaterThan(1);
    expect(host.told).toContainEqual({ kind: "covered", covered: true });
    expect(held).toMatchObject({ base: BASE, layout: { machine: "pc-q35-10.0" } });
    await stored(1, "base");
    guest.write(0, 7, 4242);
    const moment = await stored(2, 1);
    const got = await restoredElsewhere(BASE, 2);
    expect(got.map((content, i) => content.equals(moment[i] as Buffer))).toEqual([true, true]);
  });

  it("takes the place of another one, and the log with it; what is of the other is refused", async () => {
    base.begin(offered(BASE));
    await until("the escrow to have all of it", () => held?.complete === true);
    await stored(1, "base");
    const next = "ffeeddccbbaa9988";
    base.begin(offered(next));
    await until("the escrow to have the next one", () => held?.base === next && held.complete);
    expect(escrow.state).toBeNull();
    guest.write(0, 9, 99);
    const moment = await stored(2, "base");
    await expect(restoredElsewhere(BASE, 2)).rejects.toThrow();
    const got = await restoredElsewhere(next, 2);
    expect(got[0]?.equals(moment[0] as Buffer)).toBe(true);
  });

  it("is there again when the escrow's agent comes up again", async () => {
    base.begin(offered(BASE));
    await until("the escrow to have all of it", () => held?.complete === true);
    const moment = await stored(1, "base");
    await escrow.close();
    held = undefined;
    escrow = await EscrowStore.open(escrow_shell);
    escrow.begin();
    await until("it to be said", () => held?.complete === true);
    expect((await restoredElsewhere(BASE, 1))[0]?.equals(moment[0] as Buffer)).toBe(true);
  });

  it("is learnt as it is sent, where what changes is found by comparison; what is sent twice counts as changed", async () => {
    base.begin(offered(BASE, true));
    await until("the escrow to have all of it", () => held?.complete === true);
    const learnt = host.told.flatMap((one) => (one.kind === "arrived" && one.block === BLOCKS[0].name ? [one] : []));
    const content = Buffer.alloc(BLOCKS[0].bytes);
    for (const one of learnt) content.set(one.content, one.first * 4096);
    expect(content.equals(guest.memory[0] as Buffer)).toBe(true);
    const again = encodeRequest({
      by: "escrow",
      of: "source",
      base: BASE,
      runs: [{ block: BLOCKS[0].name, first: 4, count: 1 }],
    });
    await base.requested("escrow", again);
    const last = host.told.findLast((one) => one.kind === "arrived");
    expect(last?.kind === "arrived" && Buffer.from(last.content).equals(content.subarray(4 * 4096, 5 * 4096))).toBe(
      false,
    );
  });
});
