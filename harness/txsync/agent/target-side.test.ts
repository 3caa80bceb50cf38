import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../../base/page.ts";
import { waitFor } from "../../base/wait.ts";
import { RAM_BLOCK } from "../../qemu/command-line.ts";
import type { QmpEvent } from "../../qemu/qmp.ts";
import type { LocatedBlock } from "../../qemu/ram-blocks.ts";
import {
  type Action,
  type EventBody,
  frameNumber,
  generation,
  type TransactionNumber,
  transactionNumber,
} from "../core/index.ts";
import { buildNative, canBuildNative, type NativeTools } from "../dirty/testing/native.ts";
import { decodeRecord } from "../log/index.ts";
import { encodePackage } from "./kept-package.ts";
import type { VmProcess } from "./machine.ts";
import type { Shell } from "./shell.ts";
import { TargetSide } from "./target-side.ts";

const PAGES = 64;
const PATIENCE = { timeout_ms: 10_000, interval_ms: 2 };

/**
 * A target whose QEMU is played: a file is its guest's memory, and its monitor answers when the test lets it. pagescan
 * is the real one.
 */
class Stage implements AsyncDisposable {
  readonly side: TargetSide;
  readonly told: EventBody[] = [];
  readonly lines: string[] = [];
  /** Commands so far, as the monitor got them. */
  readonly said: string[] = [];
  /** Awaited before the given occurrence of a command is answered: `cont 1`. */
  readonly holds = new Map<string, Promise<void>>();
  readonly #folder: string;
  readonly #ram: number;
  readonly #server: Server;
  readonly #listeners: ((event: QmpEvent) => void)[] = [];

  constructor(pagescan: string) {
    this.#folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "target-side-"));
    const ram_path = join(this.#folder, "ram");
    this.#ram = openSync(ram_path, "w+");
    ftruncateSync(this.#ram, PAGES * PAGE_BYTES);
    this.#server = createServer((socket) => void socket.resume());
    const blocks: LocatedBlock[] = [
      { name: RAM_BLOCK, bytes: PAGES * PAGE_BYTES, where: { kind: "file", path: ram_path } },
    ];
    const qmp = {
      executeRaw: (command: string, args?: { filename?: string }) => this.#answer(command, args),
      on: () => () => undefined,
      execute: (command: string, args?: { filename?: string }) => this.#answer(command, args),
    };
    const vm = {
      folder: this.#folder,
      pid: process.pid,
      migration: "postcopy-active",
      gone: false,
      qmp,
      incoming_path: join(this.#folder, "in"),
      shim_status_path: join(this.#folder, "uffd"),
      on: (listener: (event: QmpEvent) => void) => void this.#listeners.push(listener),
      blocks: async () => blocks,
    } as unknown as VmProcess;
    const shell = {
      config: { memory_folder: this.#folder, pagescan, find: "sure", epoch_ms: 100 },
      peers: { sendData: () => false },
      output: { produced: frameNumber(0), look: () => frameNumber(0), frames: () => [] },
      slot: { vm, kill: async () => undefined },
      state: () => ({ vm: "running" }),
      dispatch: (event: EventBody) => void this.told.push(event),
      emit: (event: { kind: string; line?: string }) => {
        if (event.line !== undefined) this.lines.push(event.line);
      },
      machine: () => ({ hold: false }),
    } as unknown as Shell;
    this.side = new TargetSide(shell);
  }

  async #answer(command: string, args?: { filename?: string }): Promise<unknown> {
    this.said.push(command);
    if (args?.filename !== undefined) writeFileSync(args.filename, "device state");
    await this.holds.get(`${command} ${this.said.filter((other) => other === command).length}`);
    return {};
  }

  /** Loads a package, and lets the guest run. */
  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(join(this.#folder, "in"), resolve));
    const blocks = [{ name: RAM_BLOCK, bytes: PAGES * PAGE_BYTES }];
    const what = { base: "0123456789abcdef", machine: "q35", ram_section_id: 2, blocks, bytes_per_s: 0 };
    const body = encodePackage({ ...what, preamble: Buffer.from("before"), packaged: Buffer.from("package") });
    this.side.packageCame(Buffer.concat(body));
    await this.side.load();
    const head = { name: "RESUME", data: {}, at_ms: 0 };
    for (const listener of this.#listeners) listener({ ...head, kind: "resume" });
  }

  /** The guest writes a page. */
  write(page: number, byte: number): void {
    writeSync(this.#ram, Buffer.alloc(PAGE_BYTES, byte), 0, PAGE_BYTES, page * PAGE_BYTES);
  }

  async until(kind: EventBody["kind"], of: number, n: number): Promise<void> {
    await waitFor({ what: `${kind} of ${n} in generation ${of}`, ...PATIENCE }, () =>
      this.told.some(
        (event) =>
          event.kind === kind && "n" in event && event.n === n && "generation" in event && event.generation === of,
      )
        ? true
        : undefined,
    );
  }

  /** Waits until the monitor got a command so many times. */
  async toldMonitor(command: string, times: number): Promise<void> {
    await waitFor({ what: `${command} for the ${times}. time`, ...PATIENCE }, () =>
      this.said.filter((other) => other === command).length >= times ? true : undefined,
    );
  }

  take(of: number, n: number, since: TransactionNumber | "base"): void {
    void this.side.take(taking(of, n, since));
  }

  /** First byte of every page in the record, by page. */
  record(of: number, n: number, since: TransactionNumber | "base"): Map<number, number> {
    const head = { generation: generation(of), n: transactionNumber(n), since };
    const pieces = this.side.recordOf({ kind: "append", ...head, mark: frameNumber(0), acked: frameNumber(0) });
    const { pages } = decodeRecord(Buffer.concat(pieces ?? []));
    return new Map(pages.map(({ page, bytes }) => [page, bytes?.[0] ?? 0]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.side.stop();
    this.#server.close();
    closeSync(this.#ram);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function taking(
  of: number,
  n: number,
  since: TransactionNumber | "base",
): Extract<Action, { kind: "takeTransaction" }> {
  return { kind: "takeTransaction", generation: generation(of), n: transactionNumber(n), since };
}

/** The helpers that this process has started. */
function helpers(): number[] {
  return readdirSync("/proc/self/task").flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, "utf8")
      .split(" ")
      .map(Number)
      .filter((pid) => pid > 0 && readFileSync(`/proc/${pid}/comm`, "utf8") === "pagescan\n"),
  );
}

describe.skipIf(!canBuildNative())("transactions of a target whose QEMU is played", () => {
  let tools: NativeTools;
  let stage: Stage;
  beforeAll(() => {
    tools = buildNative();
  });
  afterAll(() => tools[Symbol.dispose]());
  beforeEach(async () => {
    stage = new Stage(tools.pagescan);
    stage.write(1, 1);
    await stage.start();
    stage.take(1, 1, "base");
    await stage.until("transactionTaken", 1, 1);
  });
  afterEach(async () => await stage[Symbol.asyncDispose]());

  test("a take that is slow and given up leaves nothing out of the record of the next generation", async () => {
    for (const page of [2, 3, 4, 5]) stage.write(page, 2);
    const running = Promise.withResolvers<void>();
    stage.holds.set("cont 2", running.promise);
    stage.take(4, 34, "base");
    await stage.toldMonitor("cont", 2);
    // In the middle of it: two generations later the same number is asked for again.
    stage.holds.set("stop 3", stage.until("transactionTaken", 4, 34));
    stage.side.dropRecord(transactionNumber(34));
    stage.take(6, 34, "base");
    stage.write(9, 3);
    running.resolve();
    await stage.until("transactionTaken", 6, 34);
    const expected = { 1: 1, 2: 2, 3: 2, 4: 2, 5: 2, 9: 3 };
    expect(Object.fromEntries(stage.record(6, 34, "base"))).toEqual(expected);
  });

  test("a helper that dies is replaced, and the record since the last one is whole", async () => {
    for (const page of [2, 3]) stage.write(page, 2);
    stage.take(1, 2, transactionNumber(1));
    await stage.until("transactionTaken", 1, 2);
    for (const pid of helpers()) process.kill(pid, "SIGKILL");
    stage.write(4, 4);
    // Whether the first one after it still meets the dead one is a matter of time.
    await waitFor({ what: "a transaction after the helper's death", ...PATIENCE }, async () => {
      await stage.side.take(taking(1, 3, transactionNumber(1)));
      return stage.told.some((event) => event.kind === "transactionTaken" && event.n === 3) ? true : undefined;
    });
    // By comparison, with nobody left who knows what arrived: everything that is there.
    const record = stage.record(1, 3, transactionNumber(1));
    expect(Object.fromEntries(record)).toMatchObject({ 2: 2, 3: 2, 4: 4 });
  });

  test("of the transactions that wait for one that is slow only the last is taken", async () => {
    const running = Promise.withResolvers<void>();
    stage.holds.set("cont 2", running.promise);
    stage.take(1, 2, transactionNumber(1));
    await stage.toldMonitor("cont", 2);
    for (const of of [2, 3, 4]) stage.take(of, 2, "base");
    running.resolve();
    await stage.until("transactionTaken", 4, 2);
    const taken = stage.told.filter(({ kind }) => kind === "transactionTaken");
    expect(taken).toMatchObject([
      { generation: 1, n: 1 },
      { generation: 1, n: 2 },
      { generation: 4, n: 2 },
    ]);
    expect(stage.told.filter(({ kind }) => kind === "transactionFailed")).toEqual([]);
  });
});
