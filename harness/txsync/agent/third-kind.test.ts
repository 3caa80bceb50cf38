import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type TransactionNumber, transactionNumber } from "../core/index.ts";
import type { OutputSink, OutputSource } from "../device/output-source.ts";
import { partPieces } from "../device/piece-source.ts";
import { SERIAL_LINES, SerialLine } from "../device/serial-line.ts";
import type { StatePart } from "../device/state-part.ts";
import { folder } from "../log/files.ts";
import type { PartPiece } from "../log/index.ts";
import { TransactionLog } from "../log/index.ts";
import { readWhole, recordWithParts, store } from "../log/testing/sketch.ts";
import { decodeRecord } from "../log/whole-record.ts";
import { OutputStore } from "./output.ts";

/**
 * A third kind of device is one class on each seam, and nothing else knows of it: a TPM, which has a small file of its own
 * beside RAM and device state, and which tells the world what it has measured.
 */

const NAME = "tpm";
const CHANNEL = 3;

class TpmState implements StatePart {
  readonly name = NAME;
  readonly #path: string;
  #captured = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
  }

  capture(): void {
    this.#captured = readFileSync(this.#path);
  }

  /** It is small: every record has all of it, and so needs nothing of those before. */
  pieces(n: TransactionNumber): readonly PartPiece[] {
    return [{ name: this.name, n, floor: n - 1, bytes: this.#captured }];
  }

  committed(): void {}

  async settled(): Promise<void> {}

  fence(): void {}

  restore(_: TransactionNumber, pieces: readonly PartPiece[]): void {
    const last = pieces.at(-1);
    if (last === undefined) throw new Error("the log has nothing of the TPM");
    writeFileSync(this.#path, last.bytes);
  }
}

class TpmLog implements OutputSource {
  readonly channel = CHANNEL;
  readonly name = NAME;
  #sink: OutputSink | undefined;

  follow(_folder: string, _end: number, sink: OutputSink): void {
    this.#sink = sink;
  }

  unfollow(): void {
    this.#sink = undefined;
  }

  endIn(): number {
    return 0;
  }

  look(): void {}

  measured(what: string): void {
    this.#sink?.put(Buffer.from(what), 0);
  }
}

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "ferryman-third-kind-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

it("is captured with a transaction, kept by the log as it is, and put back on another host", async () => {
  const [here, there] = ["here", "there"].map((name) => join(root, name)) as [string, string];
  const part = new TpmState(here);
  mkdirSync(join(root, "log"));
  const log = await TransactionLog.open({ files: folder(join(root, "log")), sync: "memory" });
  for (const n of [1, 2, 3]) {
    writeFileSync(here, `state ${n}`);
    part.capture();
    // It goes on while the record is sent.
    writeFileSync(here, `state ${n}, and more`);
    await store(log, recordWithParts(n, n === 1 ? "base" : n - 1, [...partPieces(part.pieces(transactionNumber(n)))]));
  }
  const { parts } = decodeRecord(await readWhole(log));
  await log.close();
  new TpmState(there).restore(
    transactionNumber(3),
    parts.filter(({ name }) => name === NAME),
  );
  expect(readFileSync(there, "utf8")).toBe("state 3");
});

it("has its output numbered among that of all others, and found again by another life of the agent", () => {
  const qemu = join(root, "qemu");
  mkdirSync(qemu);
  const lines = SERIAL_LINES.map((name, channel) => new SerialLine(channel, name));
  for (const { name } of lines) writeFileSync(join(qemu, `${name}.out`), "");
  const tpm = new TpmLog();
  const output = new OutputStore(root, [...lines, tpm], () => undefined);
  output.follow(qemu);
  tpm.measured("kernel");
  writeFileSync(join(qemu, "com1.out"), "hello");
  output.look();
  tpm.measured("initrd");
  expect(output.still()).toBe(3);
  output.unfollow();
  const again = new OutputStore(root, [...lines, new TpmLog()], () => undefined);
  expect(again.frames(1, 3).map(({ channel, bytes }) => `${channel} ${Buffer.from(bytes)}`)).toEqual([
    `${CHANNEL} kernel`,
    "0 hello",
    `${CHANNEL} initrd`,
  ]);
});
