import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { verifyRamFile } from "../guests/integrity/verify-ram.ts";
import { RAM_BLOCK } from "../qemu/command-line.ts";
import { generation, transactionNumber } from "../txsync/core/index.ts";
import { findBlocks } from "../txsync/dirty/find-blocks.ts";
import type { PageSet } from "../txsync/dirty/pages.ts";
import { readSmallBlocks } from "../txsync/dirty/small-blocks.ts";
import { pageSetOf } from "../txsync/dirty/spool.ts";
import { openTracker, type PagescanTracker } from "../txsync/dirty/tracker.ts";
import { feedRestore, machineType } from "../txsync/restore/feed.ts";
import { restoreStream } from "../txsync/restore/restore-stream.ts";
import { takeTransaction } from "../txsync/transaction/take.ts";
import type { Transaction } from "../txsync/transaction/transaction.ts";
import type { DrillOptions } from "./drill.ts";
import { learnBase } from "./drill.ts";
import { steps, working } from "./guest.ts";
import { DrillMachine } from "./machine.ts";
import { type Base, buildRamFile } from "./ram-file.ts";
import { type Spread, spread } from "./report.ts";
import { Witness } from "./witness.ts";

/**
 * Transactions of a QEMU that was only booted: tracked from outside, its base copied while the guest writes, its whole
 * memory compared with base and log at every take, at last killed and restored. What a drill does on the target of a
 * migration, without a migration.
 */
export type BootedOptions = Pick<
  DrillOptions,
  "qemu" | "accel" | "memory_mib" | "kernel" | "pagescan" | "shim" | "epoch_ms" | "transactions" | "reopen"
> &
  Pick<DrillOptions, "lose_notes" | "guest_pages" | "guest_checks_pages" | "rate" | "seed">;

export interface BootedReport {
  readonly qemu_version: string;
  /** The way in use at the end, and why. */
  readonly mode: string;
  readonly mode_why: string;
  readonly armed_pages: number;
  readonly arm_ms: number;
  /** Pages that a second tracker had to protect: none, where the first one's work lasts. */
  readonly armed_again_pages: number;
  readonly transactions: number;
  readonly pages: Spread;
  readonly pages_compared: number;
  readonly wrong_pages: number;
  readonly wrong_digests: number;
  readonly find_ms: Spread;
  readonly still_ms: Spread;
  readonly restored: {
    readonly ram_ok: boolean;
    readonly steps_at_last_transaction: number;
    readonly steps_after_run: number;
    readonly guest_bad_pages: number;
    readonly guest_errors: number;
  };
}

const REOPENED_AFTER = 5;

export async function bootedDrill(options: BootedOptions): Promise<BootedReport> {
  const folder = await mkdtemp("/dev/shm/fb-");
  await using opened = new AsyncDisposableStack();
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const shared = {
    qemu: options.qemu,
    accel: options.accel,
    memory_bytes: options.memory_mib * 2 ** 20,
    kernel: options.kernel,
    append: `${options.guest_pages > 0 ? `pages=${options.guest_pages} ` : ""}seed=${options.seed} rate=${options.rate} fill=${options.accel === "kvm" ? "head" : "full"}`,
    folder,
    ...(options.shim === null ? {} : { shim: options.shim }),
  };
  const ram_path = join(folder, "booted.ram");
  const machine = opened.use(await DrillMachine.start({ ...shared, name: "booted", ram_path, incoming: false }));
  await working(machine, Math.min(options.rate / 4, 1000));

  const { pid, uffd_status_path: shim_status_path } = machine;
  const blocks = await findBlocks({ qmp: machine.qmp, pid, files: { [RAM_BLOCK]: ram_path }, shim_status_path });
  const track = async (): Promise<PagescanTracker> =>
    opened.use(await openTracker({ pagescan: options.pagescan, pid, blocks, folder, shim_status_path }));
  let tracker = await track();
  const armed = await tracker.arm();
  // First tracked, then read: what the guest writes meanwhile is in the first transaction.
  const base_path = join(folder, "base");
  await copyFile(ram_path, base_path);
  const small = await readSmallBlocks({ pagescan: options.pagescan, pid, blocks });
  const base: Base = { block: RAM_BLOCK, path: base_path, small };
  if (tracker.mode === "sure") await learnBase(tracker, base);

  const witness = await Witness.of(base, blocks, pid);
  const log: Transaction[] = [];
  const log_pages: PageSet[] = [];
  let armed_again_pages = 0;
  while (log.length < options.transactions) {
    const next_ms = performance.now() + options.epoch_ms;
    if (options.reopen && log.length === REOPENED_AFTER) {
      await tracker[Symbol.asyncDispose]();
      tracker = await track();
      armed_again_pages += (await tracker.arm()).pages;
    }
    const outcome = await takeTransaction({
      qmp: machine.qmp,
      tracker: witness.watching(tracker),
      generation: generation(1),
      n: transactionNumber(log.length + 1),
      since: log.at(-1)?.n ?? "base",
      // There is no migration, and so no page that a `stop` could wait for.
      status: () => "completed",
      state_path: join(folder, "device-state"),
    });
    if (outcome.kind !== "taken") throw new Error(`transaction ${log.length + 1}: ${outcome.kind}`);
    const pages = await pageSetOf(outcome.transaction.spool);
    await tracker.release();
    await witness.stored(outcome.transaction, pages);
    log.push(outcome.transaction);
    log_pages.push(pages);
    if (options.lose_notes) {
      await working(machine, steps(await working(machine, 0)) + 3);
      await tracker.discard();
    }
    await delay(Math.max(0, next_ms - performance.now()));
  }
  const last = log.at(-1);
  if (last === undefined) throw new Error("no transaction was taken");
  const machine_type = await machineType(machine.qmp);
  const { mode, why: mode_why } = tracker;
  await tracker[Symbol.asyncDispose]();
  await machine.kill();

  const image_path = join(folder, "image");
  await buildRamFile(base, log_pages, image_path);
  const image = await verifyRamFile(image_path);
  const restored_path = join(folder, "restored.ram");
  const built = await buildRamFile(base, log_pages, restored_path);
  const restored = opened.use(
    await DrillMachine.start({ ...shared, name: "restored", ram_path: restored_path, incoming: true }),
  );
  await feedRestore({
    qmp: restored.qmp,
    socket_path: join(folder, "restored.in"),
    stream: restoreStream({
      machine: machine_type,
      blocks: blocks.map(({ name, bytes }) => ({ name, bytes })),
      small: built.small,
      device_state: last.device_state,
    }),
  });
  const steps_at_last_transaction = steps(image.status);
  const after = await working(restored, steps_at_last_transaction + Math.min(options.rate / 2, 1000));
  const ledger = await restored.ledger();
  const judged = await ledger.verify({ pages: options.guest_checks_pages, timeout_ms: 30_000 });
  const { major, minor, micro } = restored.qmp.version;
  const of = (pick: (transaction: Transaction) => number) => spread(log.map(pick));
  return {
    qemu_version: `${major}.${minor}.${micro}`,
    mode,
    mode_why,
    armed_pages: armed.pages,
    arm_ms: armed.arm_ms,
    armed_again_pages,
    transactions: log.length,
    pages: of(({ spool }) => spool.pages),
    pages_compared: witness.pages_compared,
    wrong_pages: witness.wrong_pages,
    wrong_digests: witness.wrong_digests,
    find_ms: of(({ timings }) => timings.find_ms),
    still_ms: of(({ timings }) => timings.still_ms ?? Number.NaN),
    restored: {
      ram_ok: image.ok,
      steps_at_last_transaction,
      steps_after_run: steps(after),
      guest_bad_pages: judged.bad_count,
      guest_errors: after.errors,
    },
  };
}
