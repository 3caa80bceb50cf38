import type { Configuration } from "../../base/configuration.ts";
import { messageOf } from "../../base/errors.ts";
import { Patience } from "../../base/patience.ts";
import type { ProtocolStep } from "../../base/timeline.ts";
import { pause } from "../../base/wait.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import {
  isCompleting,
  type MigrationInfo,
  progressOf,
  queryMigrate,
  setMigrationParameters,
  stepOfStatus,
} from "../../qemu/migration-api.ts";
import { traits, versionOfGreeting } from "../../qemu/versions.ts";
import type { SettledPlan } from "../configure.ts";
import { Movement } from "../movement.ts";
import { givenUpAt, type Settled } from "../settled.ts";
import type { Timeline } from "../timeline.ts";
import { linkWay } from "./addresses.ts";
import { prepareStream, type StreamUris } from "./stream.ts";

/**
 * How long the manager waits, in milliseconds. Not the guest's business: nothing is asserted about these. The first two
 * are the manager's policy: they begin when nothing comes any more, and know nothing of the guest's size.
 */
export interface StockPatience {
  /** Post-copy without a byte of progress for so long is taken for a dead link: both sides are paused. */
  readonly stalled_ms: number;
  /** Recovery is tried for so long before the guest is given up. */
  readonly recovery_ms: number;
  /** The whole is given up once nothing has moved for so long: it takes as long as there is memory. */
  readonly patience_ms: number;
}

export const STOCK_PATIENCE = { stalled_ms: 1_000, recovery_ms: 4_000 };

const LOOK_EVERY_MS = 10;
/** For a monitor to answer a command that does nothing but begin or tell something. */
const ANSWER_MS = 400;
const RETRY_EVERY_MS = 200;
/** A migration by pre-copy alone comes to no end where the guest writes faster than it is sent: it is cancelled then. */
const PASSES_MAX = 50;

/** What the manager knows of one side. */
interface Side {
  readonly vm: StartedVm;
  status: string;
}

/**
 * Carries a VM over by post-copy and recovers it with QEMU's own means, as a management layer does today
 * (QEMU docs/devel/migration/postcopy.rst, "Postcopy recovery"): `migrate-pause` where the link went silent,
 * `migrate-recover` on the target and `migrate` with `resume` on the source once both are paused, again and again
 * until it works or patience ends. Where one side is dead there is nothing that it could do: the guest is lost.
 */
export class StockMigration {
  readonly #source: Side;
  readonly #target: Side;
  readonly #plan: SettledPlan;
  readonly #configuration: Configuration;
  readonly #timeline: Timeline;
  readonly #patience: StockPatience;
  readonly #steps = new Set<ProtocolStep>();
  readonly #unsubscribe: (() => void)[] = [];
  #uris: StreamUris | undefined;
  #switched = false;
  /** When the pre-copy phase began. */
  #active_ms: number | undefined;
  /** The least that the source has said is left to send, and when it said so first. */
  #left = { bytes: Number.POSITIVE_INFINITY, at_ms: 0 };
  #completing = false;
  #broken_since_ms: number | undefined;
  #tried_ms = Number.NEGATIVE_INFINITY;

  constructor(what: {
    readonly source: StartedVm;
    readonly target: StartedVm;
    readonly plan: SettledPlan;
    readonly configuration: Configuration;
    readonly timeline: Timeline;
    readonly patience: StockPatience;
  }) {
    this.#source = { vm: what.source, status: "none" };
    this.#target = { vm: what.target, status: "none" };
    this.#plan = what.plan;
    this.#configuration = what.configuration;
    this.#timeline = what.timeline;
    this.#patience = what.patience;
  }

  /** Runs the migration to its end, good or bad. */
  async run(): Promise<Settled> {
    const patience = new Patience(this.#patience.patience_ms, this.#timeline.now_ms);
    const movement = new Movement(patience);
    this.#unsubscribe.push(this.#timeline.onEvent((event) => movement.see(event)));
    this.#watch();
    try {
      await this.#begin();
      for (;;) {
        await this.#look();
        const settled = await this.#decide();
        if (settled) return settled;
        const now_ms = this.#timeline.now_ms;
        const what = this.#switched ? "the target to have every page" : "the migration to switch over";
        const over = patience.over(now_ms);
        if (over !== undefined)
          return givenUpAt(`waited for ${what}: ${over}`, this.#switched ? movement.pages : undefined);
        const waiting = patience.toSay(now_ms);
        if (waiting !== undefined) this.#timeline.emit("run", { kind: "run.waiting", what, ...waiting });
        await pause(LOOK_EVERY_MS);
      }
    } finally {
      for (const stop of this.#unsubscribe) stop();
    }
  }

  #watch(): void {
    const sides = [
      ["source", this.#source],
      ["target", this.#target],
    ] as const;
    for (const [role, side] of sides) {
      this.#unsubscribe.push(
        side.vm.watch.on((event) => {
          if (event.kind === "migration") this.#onStatus(role, event.status);
          if (event.kind === "resume" && role === "target") this.#step("target-running");
        }),
      );
    }
  }

  async #begin(): Promise<void> {
    const { vm: source } = this.#source;
    const { vm: target } = this.#target;
    this.#uris = await prepareStream(
      this.#configuration,
      { from: source, to: target },
      linkWay("source", "target"),
      this.#plan.switchover !== "never",
    );
    await setMigrationParameters(source.control, {
      "max-bandwidth": this.#plan.bandwidth_bytes_per_s,
      "max-postcopy-bandwidth": this.#plan.bandwidth_bytes_per_s,
    });
    await target.control.execute("migrate-incoming", { uri: this.#uris.listen });
    await source.control.execute("migrate", { uri: this.#uris.connect });
  }

  #onStatus(role: "source" | "target", status: string): void {
    const side = role === "source" ? this.#source : this.#target;
    if (side.status === status) return;
    const previous = side.status;
    side.status = status;
    this.#timeline.emit("migration", { kind: "migration.status", side: role, status });
    if (role === "source" && status.startsWith("postcopy")) this.#switched = true;
    const step = stepOfStatus(role, status, previous, traits(versionOfGreeting(side.vm.control.version)));
    if (step !== undefined) this.#step(step);
  }

  #step(step: ProtocolStep): void {
    // A step that comes again (paused, recovering) is told again; the others once.
    const again = step === "postcopy-paused" || step === "recovering";
    if (this.#steps.has(step) && !again) return;
    this.#steps.add(step);
    this.#timeline.emit("migration", { kind: "migration.step", step });
  }

  /** Asks the source how far it is; a source that does not answer (dead, frozen) is left alone. */
  async #look(): Promise<void> {
    const { vm } = this.#source;
    if (!vm.alive || !vm.host.up) return;
    let info: MigrationInfo;
    try {
      info = await queryMigrate(vm.watch, ANSWER_MS);
    } catch {
      return;
    }
    if (info.status !== undefined) this.#onStatus("source", info.status);
    const progress = progressOf(info);
    if (progress !== undefined && progress.remaining_bytes < this.#left.bytes) {
      this.#left = { bytes: progress.remaining_bytes, at_ms: this.#timeline.now_ms };
      if (info.status === "postcopy-active") this.#broken_since_ms = undefined;
      const { pages_sent, ...rest } = progress;
      this.#timeline.emit("migration", { kind: "migration.progress", ...rest, pages_arrived: pages_sent });
    }
    this.#completing = isCompleting(info);
    if (this.#completing) this.#step("completing");
    // Whoever asks for the capability pause-before-switchover is asked: there is nothing to be done in between here.
    if (info.status === "pre-switchover")
      await vm.control.executeRaw("migrate-continue", { state: "pre-switchover" }).catch(() => undefined);
    if (info.status === "active" && !this.#switched) await this.#beforeSwitchover(info);
  }

  async #beforeSwitchover(info: MigrationInfo): Promise<void> {
    const { control } = this.#source.vm;
    const { switchover } = this.#plan;
    this.#active_ms ??= this.#timeline.now_ms;
    const passes = info.ram?.["dirty-sync-count"] ?? 0;
    if (switchover === "never") {
      if (passes >= PASSES_MAX) await control.executeRaw("migrate_cancel").catch(() => undefined);
      return;
    }
    const now =
      switchover === "at-once" ||
      (switchover === "after-one-pass" ? passes >= 2 : this.#timeline.now_ms - this.#active_ms >= switchover.after_ms);
    if (now) await control.execute("migrate-start-postcopy").catch(() => undefined);
  }

  async #decide(): Promise<Settled | undefined> {
    const [source, target] = [this.#source, this.#target];
    if (target.status === "completed" && target.vm.alive) {
      return { owner: "target", how: "the migration completed" };
    }
    if (!this.#switched) return this.#decideBeforeSwitchover();
    if (!target.vm.alive)
      return { owner: "none", how: "the target is dead after switchover: stock QEMU has no way back" };
    if (!source.vm.alive) {
      return { owner: "none", how: "the source is dead after switchover: its pages are gone for stock QEMU" };
    }
    if (source.status === "failed") {
      return {
        owner: "none",
        how: "the source gave the migration up after switchover, and the target waits for pages",
      };
    }
    if (isPaused(source) || isPaused(target)) this.#broken_since_ms ??= this.#timeline.now_ms;
    const broken_ms = this.#timeline.now_ms - (this.#broken_since_ms ?? Number.POSITIVE_INFINITY);
    if (broken_ms > this.#patience.recovery_ms) {
      return { owner: "none", how: `postcopy-paused, and recovery did not work for ${this.#patience.recovery_ms} ms` };
    }
    await this.#repair();
    return undefined;
  }

  #decideBeforeSwitchover(): Settled | undefined {
    const { vm, status } = this.#source;
    if (!vm.alive) return { owner: "none", how: "the source died before switchover, as any VM dies with its host" };
    if (status === "failed")
      return { owner: "source", how: "the migration failed before switchover: the source runs on" };
    if (status === "cancelled")
      return {
        owner: "source",
        how: `pre-copy came to no end in ${PASSES_MAX} passes: it was cancelled, the source runs on`,
      };
    return undefined;
  }

  /** One attempt at QEMU's own recovery, where it is called for and the last one has had its time. */
  async #repair(): Promise<void> {
    const now_ms = this.#timeline.now_ms;
    const [source, target] = [this.#source, this.#target];
    if (isPaused(source) && isPaused(target) && this.#uris !== undefined) {
      if (now_ms - this.#tried_ms < RETRY_EVERY_MS) return;
      this.#tried_ms = now_ms;
      const refused = await this.#try(target.vm, "migrate-recover", { uri: this.#uris.listen }, "oob");
      // A second migrate-recover while the first still listens is refused; then the listener is the one we want.
      if (refused !== undefined && !refused.includes("triggered already")) return;
      await this.#try(source.vm, "migrate", { uri: this.#uris.connect, resume: true }, "control");
      return;
    }
    const half = (isPaused(source) && isActive(target)) || (isActive(source) && isPaused(target));
    // Once everything is sent, a pause would make the source give up and run again beside the target (seen with 10.0).
    const stalled =
      !this.#completing && now_ms - Math.max(this.#left.at_ms, this.#tried_ms) > this.#patience.stalled_ms;
    if (!(half && now_ms - this.#tried_ms > RETRY_EVERY_MS) && !stalled) return;
    this.#tried_ms = now_ms;
    this.#broken_since_ms ??= now_ms;
    this.#timeline.emit("migration", { kind: "run.note", text: "no progress: the manager pauses both sides" });
    for (const side of [source, target]) {
      if (!isPaused(side)) await this.#try(side.vm, "migrate-pause", undefined, "oob");
    }
  }

  /** @returns why it was refused, if it was */
  async #try(
    vm: StartedVm,
    command: "migrate-recover" | "migrate-pause" | "migrate",
    args: { uri?: string; resume?: boolean } | undefined,
    monitor: "oob" | "control",
  ): Promise<string | undefined> {
    if (!vm.alive || !vm.host.up) return "there is nobody to ask";
    try {
      await vm[monitor].executeRaw(command, args, { timeout_ms: ANSWER_MS, oob: monitor === "oob" });
      return undefined;
    } catch (error) {
      const why = messageOf(error);
      this.#timeline.emit(vm.host.role, { kind: "run.note", text: `${command}: ${why}` });
      return why;
    }
  }
}

function isPaused({ status }: Side): boolean {
  return status === "postcopy-paused";
}

function isActive({ status }: Side): boolean {
  return status === "postcopy-active" || status === "postcopy-device";
}
