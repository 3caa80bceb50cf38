import { closeSync, openSync, readSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { PAGE_BYTES } from "../base/page.ts";
import type { Accel } from "../base/run-record.ts";
import { verifyRamFile } from "../guests/integrity/verify-ram.ts";
import { RAM_BLOCK } from "../qemu/command-line.ts";
import type { LocatedBlock } from "../qemu/ram-blocks.ts";
import { generation, transactionNumber } from "../txsync/core/index.ts";
import { findBlocks } from "../txsync/dirty/find-blocks.ts";
import type { PageSet } from "../txsync/dirty/pages.ts";
import { readSmallBlocks, type SmallBlock } from "../txsync/dirty/small-blocks.ts";
import { pageSetOf } from "../txsync/dirty/spool.ts";
import { openTracker, type PagescanTracker } from "../txsync/dirty/tracker.ts";
import { feedRestore, machineType } from "../txsync/restore/feed.ts";
import { restoreStream } from "../txsync/restore/restore-stream.ts";
import { takeTransaction } from "../txsync/transaction/take.ts";
import { bytesOf, type Transaction } from "../txsync/transaction/transaction.ts";
import { afterlifeOf } from "./afterlife.ts";
import { type Comparison, comparing } from "./comparing.ts";
import { steps, working } from "./guest.ts";
import { DrillMachine } from "./machine.ts";
import { migrate, requestedOf } from "./migrate.ts";
import { type Base, buildRamFile, consumeBase } from "./ram-file.ts";
import { type DrillReport, spread } from "./report.ts";
import { prepare, Troubles } from "./trouble.ts";
import { Witness } from "./witness.ts";

/**
 * A drill of the three parts on real QEMUs, all on this machine and without agents: migrate by post-copy, take
 * transactions from the running target, kill both QEMUs, restore from base and transactions, and look whether the
 * machine that comes back is whole. Nothing in it is pretended; it is run inside a host image by the tests.
 */
export interface DrillOptions {
  readonly qemu: string;
  readonly accel: Accel;
  readonly memory_mib: number;
  readonly kernel: string;
  readonly pagescan: string;
  /** Without the shim the kernel notes nothing. */
  readonly shim: string | null;
  readonly prefer: "auto" | "sure";
  /** Look both ways in every transaction, and compare. */
  readonly compare: boolean;
  readonly epoch_ms: number;
  readonly transactions: number;
  readonly bandwidth_mib_s: number;
  /** Build the restored RAM in the base's own file. */
  readonly consume: boolean;
  /** After some transactions end the tracker and open another, as an agent does that was killed and adopts its QEMU. */
  readonly reopen: boolean;
  /** Do that at any moment, in the middle of a take too, and drop transactions; and compare memory at every one. */
  readonly trouble: boolean;
  /** Throw the kernel's notes away once: what a stray write-protect would do. Then pages have to be missed, and seen to be. */
  readonly lose_notes: boolean;
  /** Pages that the guest works on; 0 is all that it has. */
  readonly guest_pages: number;
  /** How many pages the guest checks itself: under emulated KVM all of them take minutes. */
  readonly guest_checks_pages: number;
  /** Steps of the guest per second: each rewrites a page. */
  readonly rate: number;
  /** Go on taking transactions until the target has all pages, and two more: tracking ends with the migration. */
  readonly until_completed: boolean;
  /** Migrate the restored VM once more, and reset it. */
  readonly afterlife: boolean;
  readonly seed: number;
}

async function blocksOf(machine: DrillMachine): Promise<readonly LocatedBlock[]> {
  return await findBlocks({
    qmp: machine.qmp,
    pid: machine.pid,
    files: { [RAM_BLOCK]: machine.options.ram_path },
    shim_status_path: machine.uffd_status_path,
  });
}

async function smallBlocks(machine: DrillMachine, pagescan: string): Promise<SmallBlock[]> {
  return await readSmallBlocks({ pagescan, pid: machine.pid, blocks: await blocksOf(machine) });
}

async function stoppedSmallBlocks(machine: DrillMachine, pagescan: string): Promise<SmallBlock[]> {
  await machine.qmp.execute("stop");
  try {
    return await smallBlocks(machine, pagescan);
  } finally {
    await machine.qmp.execute("cont");
  }
}

/**
 * No guest of ours writes to a small block, so the drill does, into the unused beginning of the firmware. The page is
 * missing on the target: looking at it through the monitor first makes QEMU ask the source for it.
 */
const POKED_IN = 3;
const REOPENED_AFTER = 5;
const POKED_BLOCK = "pc.bios";
const POKED_ADDRESS = 0xfffc0000;
const POKED_TEXT = Buffer.from("ferryman was here");

async function poke(machine: DrillMachine, blocks: readonly LocatedBlock[]): Promise<void> {
  const block = blocks.find(({ name }) => name === POKED_BLOCK);
  if (block?.where.kind !== "process") throw new Error(`no block ${POKED_BLOCK}`);
  await machine.qmp.execute("human-monitor-command", { "command-line": `xp /1xw 0x${POKED_ADDRESS.toString(16)}` });
  const memory = await open(`/proc/${machine.pid}/mem`, "r+");
  try {
    await memory.write(POKED_TEXT, 0, POKED_TEXT.length, Number(block.where.address));
  } finally {
    await memory.close();
  }
}

function isPoked(small: readonly SmallBlock[]): boolean {
  const block = small.find(({ name }) => name === POKED_BLOCK);
  return block?.content.subarray(0, POKED_TEXT.length).equals(POKED_TEXT) ?? false;
}

/** Tells the tracker what the base holds, as the relay of a target's agent would. */
export async function learnBase(tracker: PagescanTracker, base: Base): Promise<void> {
  const file = openSync(base.path, "r");
  const chunk = Buffer.alloc(4 << 20);
  try {
    for (let at = 0; ; at += chunk.length) {
      const length = readSync(file, chunk, 0, chunk.length, at);
      if (length === 0) break;
      await tracker.learn(base.block, at / PAGE_BYTES, chunk.subarray(0, length));
    }
  } finally {
    closeSync(file);
  }
  for (const { name, content } of base.small) await tracker.learn(name, 0, content);
}

export async function drill(options: DrillOptions): Promise<DrillReport> {
  const folder = await mkdtemp("/dev/shm/fd-");
  await using opened = new AsyncDisposableStack();
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  return await drillIn(folder, options, opened);
}

async function drillIn(folder: string, options: DrillOptions, opened: AsyncDisposableStack): Promise<DrillReport> {
  const memory_bytes = options.memory_mib * 2 ** 20;
  const shared = {
    qemu: options.qemu,
    accel: options.accel,
    memory_bytes,
    kernel: options.kernel,
    append: `${options.guest_pages > 0 ? `pages=${options.guest_pages} ` : ""}seed=${options.seed} rate=${options.rate} fill=${options.accel === "kvm" ? "head" : "full"}`,
    folder,
  };
  const start = async (name: string, incoming: boolean, shim = false, ram_path = join(folder, `${name}.ram`)) =>
    opened.use(
      await DrillMachine.start({
        ...shared,
        name,
        ram_path,
        incoming,
        ...(shim && options.shim !== null ? { shim: options.shim } : {}),
      }),
    );
  const source = await start("source", false);
  const target = await start("target", true, true);
  await target.qmp.execute("cont"); // Runs as soon as it may.
  await working(source, Math.min(options.rate / 4, 1000));

  await migrate(source, target, options.bandwidth_mib_s * 2 ** 20, true);
  await target.untilMigration("postcopy-active");
  const blocks = await blocksOf(target);
  const track = async (): Promise<PagescanTracker> =>
    opened.use(
      await openTracker({
        pagescan: options.pagescan,
        pid: target.pid,
        blocks,
        prefer: options.prefer,
        folder,
        shim_status_path: target.uffd_status_path,
        // By two threads, as in a guest that is larger than one of a drill.
        long_pages: 4096,
      }),
    );
  let tracker = await track();
  const base: Base = {
    block: RAM_BLOCK,
    path: source.options.ram_path,
    small: await smallBlocks(source, options.pagescan),
  };
  const base_verdict = await verifyRamFile(base.path);
  if (options.compare || options.prefer === "sure") await learnBase(tracker, base);

  const log: Transaction[] = [];
  const log_pages: PageSet[] = [];
  const small = blocks.filter(({ name }) => name !== RAM_BLOCK);
  const small_pages = small.reduce((sum, { bytes }) => sum + Math.ceil(bytes / PAGE_BYTES), 0);
  const found: Comparison = { missed: 0, surplus: 0, compared: 0, requests: undefined, quick_ms: [], sure_ms: [] };
  let in_postcopy = 0;
  let after_completed = 0;
  const troubles = options.trouble ? new Troubles(options.seed) : undefined;
  const witness = options.trouble ? await Witness.of(base, blocks, target.pid) : undefined;
  let n = 1;
  let lives = 1;
  const reopen = async (): Promise<void> => {
    await tracker[Symbol.asyncDispose]();
    tracker = await track();
    lives++;
  };
  while (options.until_completed ? after_completed < 2 : log.length < options.transactions) {
    const next_ms = performance.now() + options.epoch_ms;
    const trouble = troubles?.next() ?? { kind: "none" };
    if (trouble.kind === "killed-between" || (options.reopen && log.length === REOPENED_AFTER)) await reopen();
    if (log.length === POKED_IN - 1) await poke(target, blocks);
    if (target.migration === "completed") after_completed++;
    const since = log.at(-1)?.n;
    await prepare(trouble, tracker);
    const taking = takeTransaction({
      qmp: target.qmp,
      tracker:
        witness?.watching(tracker) ??
        (options.compare ? comparing(tracker, small_pages, () => requestedOf(source), found) : tracker),
      generation: generation(1),
      n: transactionNumber(n),
      since: since === undefined || troubles?.sinceBase() === true ? "base" : since,
      status: () => target.migration,
      state_path: join(folder, "device-state"),
    });
    let transaction: Transaction;
    let pages: PageSet;
    try {
      const outcome = await taking;
      if (outcome.kind !== "taken") throw new Error(`transaction ${n}: ${outcome.kind}`);
      transaction = outcome.transaction;
      pages = await pageSetOf(transaction.spool);
      await tracker.release();
    } catch (error) {
      if (!tracker.gone || troubles === undefined) throw error;
      await reopen();
      continue;
    }
    // The number of what was never told is used again.
    if (trouble.kind === "dropped") continue;
    await witness?.stored(transaction, pages);
    if (transaction.since === "base") log_pages.splice(0);
    log_pages.push(pages);
    log.push(transaction);
    n++;
    if (target.migration === "postcopy-active") in_postcopy++;
    if (tracker.gone) await reopen();
    if (options.lose_notes) {
      await working(target, steps(await working(target, 0)) + 3);
      await tracker.discard();
    } else if (trouble.kind === "none") {
      await tracker.absorb(8192);
    }
    await delay(Math.max(0, next_ms - performance.now()));
  }
  const last = log.at(-1);
  if (last === undefined) throw new Error("no transaction was taken");
  const machine_type = await machineType(target.qmp);
  const { mode: _mode, why } = tracker;
  await tracker[Symbol.asyncDispose]();
  // The crash: both at once, in the middle of things.
  await Promise.all([target.kill(), source.kill()]);

  // A file from the same base and log, to look at without a guest that writes to it.
  const image_path = join(folder, "image.ram");
  await buildRamFile(base, log_pages, image_path);
  const image = await verifyRamFile(image_path);
  await rm(image_path);

  const restore_began_ms = performance.now();
  const ram_path = join(folder, "restored.ram");
  const built = await (options.consume ? consumeBase : buildRamFile)(base, log_pages, ram_path);
  const built_ms = performance.now();
  const restored = await start("restored", true, false, ram_path);
  const started_ms = performance.now();
  const fed = await feedRestore({
    qmp: restored.qmp,
    socket_path: join(folder, "restored.in"),
    stream: restoreStream({
      machine: machine_type,
      blocks: blocks.map(({ name, bytes }) => ({ name, bytes })),
      small: built.small,
      device_state: last.device_state,
    }),
  });
  const restored_ms = performance.now();
  const poked = isPoked(await stoppedSmallBlocks(restored, options.pagescan));
  const after = await working(restored, steps(image.status) + Math.min(options.rate / 2, 1000));
  const restored_ledger = await restored.ledger();
  const judged = await restored_ledger.verify({ pages: options.guest_checks_pages, timeout_ms: 30_000 });
  await restored.qmp.execute("stop");
  const after_verdict = await verifyRamFile(ram_path);
  await restored.qmp.execute("cont");

  const afterlife = options.afterlife
    ? await afterlifeOf(restored, await start("again", true), options.guest_checks_pages)
    : undefined;
  const of = (pick: (transaction: Transaction) => number) => spread(log.map(pick));
  const { major, minor, micro } = source.qmp.version;
  return {
    qemu_version: `${major}.${minor}.${micro}`,
    transactions: log.length,
    transactions_in_postcopy: in_postcopy,
    modes: [...new Set(log.map((transaction) => transaction.mode))],
    mode_why: why,
    missed_pages: found.missed,
    surplus_pages: found.surplus,
    compared: found.compared,
    look_requests: found.requests ?? null,
    small_block_pages_changed: log_pages.reduce(
      (sum, pages) => sum + [...pages].filter(({ block }) => block !== RAM_BLOCK).length,
      0,
    ),
    pages: of(({ spool }) => spool.pages),
    transaction_bytes: of(bytesOf),
    stop_ms: of(({ timings }) => timings.stop_ms),
    device_ms: of(({ timings }) => timings.device_ms),
    find_ms: of(({ timings }) => timings.find_ms),
    copy_ms: of(({ timings }) => timings.copy_ms),
    cont_ms: of(({ timings }) => timings.cont_ms),
    pause_ms: of(({ timings }) => timings.pause_ms),
    still_ms: of(({ timings }) => timings.still_ms ?? Number.NaN),
    lives,
    ...(witness === undefined
      ? {}
      : {
          witnessed: {
            pages_compared: witness.pages_compared,
            wrong_pages: witness.wrong_pages,
            wrong_digests: witness.wrong_digests,
          },
        }),
    pause_beyond_stop_ms: of(({ timings }) => timings.pause_ms - timings.stop_ms),
    quick_find_ms: spread(found.quick_ms),
    sure_find_ms: spread(found.sure_ms),
    base_pages_ok: base_verdict.ok,
    steps_at_switchover: steps(base_verdict.status),
    steps_at_last_transaction: steps(image.status),
    restored: {
      build_ms: built_ms - restore_began_ms,
      copy_ms: built.copy_ms,
      apply_ms: built.apply_ms,
      start_qemu_ms: started_ms - built_ms,
      load_ms: fed.listen_ms + fed.load_ms,
      cont_ms: fed.cont_ms,
      total_ms: restored_ms - restore_began_ms,
      ram_ok: image.ok,
      ram_bad: image.bad_count,
      steps: steps(image.status),
      ram_ok_after_run: after_verdict.ok,
      steps_after_run: steps(after),
      guest_bad_pages: judged.bad_count,
      small_block_ok: poked,
      guest_errors: after.errors,
    },
    ...(afterlife === undefined ? {} : { afterlife }),
  };
}
