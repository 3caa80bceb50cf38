import { Patience } from "../../base/patience.ts";
import type { ProtocolStep } from "../../base/timeline.ts";
import { pause } from "../../base/wait.ts";
import type { StartedVm } from "../../fleet/vm.ts";
import { isCompleting, type MigrationInfo, progressOf, queryMigrate, stepOfStatus } from "../../qemu/migration-api.ts";
import { traits, versionOfGreeting } from "../../qemu/versions.ts";
import type { SettledPlan } from "../configure.ts";
import { Movement } from "../movement.ts";
import { givenUpAt, type Settled } from "../settled.ts";
import type { Timeline } from "../timeline.ts";
import { Left } from "./left.ts";
import type { ManagerContext, StockManager } from "./managers/manager.ts";
import { afterCancel, afterCompletion } from "./whose-vm.ts";

const LOOK_EVERY_MS = 10;
/** For a monitor to answer a command that does nothing but begin or tell something. */
const ANSWER_MS = 400;
/** A migration by pre-copy alone comes to no end where the guest writes faster than it is sent: it is cancelled then. */
const PASSES_MAX = 50;

/**
 * A migration of QEMU's own, driven by a manager: what the harness's own monitors see of it goes onto the timeline, and to
 * the manager, who does about it what it does. Where one side is dead after switchover there is nothing that anybody
 * could do: the guest is lost.
 */
export class StockMigration {
  readonly #source: { readonly vm: StartedVm; status: string };
  /** There once the migration has begun. */
  #target: { readonly vm: StartedVm; status: string } | undefined;
  readonly #plan: SettledPlan;
  readonly #manager: StockManager;
  readonly #timeline: Timeline;
  readonly #patience_ms: number;
  readonly #steps = new Set<ProtocolStep>();
  readonly #unsubscribe: (() => void)[] = [];
  #switched = false;
  /** When the pre-copy phase began. */
  #active_ms: number | undefined;
  readonly #left = new Left();
  #completing = false;
  /** Pre-copy was given up, for it comes to no end. */
  #endless = false;

  /** @param what `patience_ms`: the whole is given up once nothing has moved for so long, for it takes as long as there is memory */
  constructor(
    what: Pick<ManagerContext, "source" | "plan" | "timeline"> & {
      /** Where it is there already. */
      readonly target?: StartedVm;
      readonly manager: StockManager;
      readonly patience_ms: number;
    },
  ) {
    this.#source = { vm: what.source, status: "none" };
    if (what.target !== undefined) this.#target = { vm: what.target, status: "none" };
    this.#plan = what.plan;
    this.#manager = what.manager;
    this.#timeline = what.timeline;
    this.#patience_ms = what.patience_ms;
  }

  /** Runs the migration to its end, good or bad. */
  async run(): Promise<Settled> {
    const patience = new Patience(this.#patience_ms, this.#timeline.now_ms);
    const movement = new Movement(patience);
    this.#unsubscribe.push(this.#timeline.onEvent((event) => movement.see(event)));
    this.#watch("source", this.#source);
    if (this.#target !== undefined) this.#watch("target", this.#target);
    try {
      const begun = await this.#manager.begin();
      if ("refused" in begun) return { owner: "source", how: `${begun.refused}: the source runs on` };
      if (this.#target === undefined) {
        this.#target = { vm: begun.target, status: "none" };
        this.#watch("target", this.#target);
      }
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

  #watch(role: "source" | "target", { vm }: { readonly vm: StartedVm }): void {
    this.#unsubscribe.push(
      vm.watch.on((event) => {
        if (event.kind === "migration") this.#onStatus(role, event.status);
        if (event.kind === "resume" && role === "target") this.#step("target-running");
      }),
    );
  }

  #onStatus(role: "source" | "target", status: string): void {
    const side = role === "source" ? this.#source : this.#target;
    if (side === undefined || side.status === status) return;
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
    if (progress !== undefined && this.#left.said(progress.remaining_bytes, this.#timeline.now_ms)) {
      const { pages_sent, ...rest } = progress;
      // One that was written again is sent again.
      const pages_arrived = Math.min(pages_sent, progress.pages_total);
      this.#timeline.emit("migration", { kind: "migration.progress", ...rest, pages_arrived });
    }
    this.#completing = isCompleting(info);
    if (this.#completing) this.#step("completing");
    if (info.status === "pre-switchover") await this.#manager.goOn?.();
    if (info.status === "active" && !this.#switched) await this.#beforeSwitchover(info);
  }

  async #beforeSwitchover(info: MigrationInfo): Promise<void> {
    const { switchover } = this.#plan;
    this.#active_ms ??= this.#timeline.now_ms;
    const passes = info.ram?.["dirty-sync-count"] ?? 0;
    if (switchover === "never") {
      this.#endless = passes >= PASSES_MAX;
      if (this.#endless) await this.#manager.cancel();
      return;
    }
    const now =
      switchover === "at-once" ||
      (switchover === "after-one-pass" ? passes >= 2 : this.#timeline.now_ms - this.#active_ms >= switchover.after_ms);
    if (now) await this.#manager.switchOver();
  }

  async #decide(): Promise<Settled | undefined> {
    const [source, target] = [this.#source, this.#target];
    if (target === undefined) return undefined;
    if (target.status === "completed" && target.vm.alive) {
      await this.#manager.finish?.();
      return afterCompletion({ source: source.vm.alive && source.vm.running, target: target.vm.running });
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
    const why = await this.#manager.tend({
      source,
      target,
      now_ms: this.#timeline.now_ms,
      left_at_ms: this.#left.at_ms,
      completing: this.#completing,
    });
    return why === undefined ? undefined : { owner: "none", how: why };
  }

  #decideBeforeSwitchover(): Settled | undefined {
    const { vm, status } = this.#source;
    if (!vm.alive) return { owner: "none", how: "the source died before switchover, as any VM dies with its host" };
    if (status === "failed")
      return { owner: "source", how: "the migration failed before switchover: the source runs on" };
    if (status === "cancelled") return afterCancel(this.#endless ? PASSES_MAX : undefined);
    return undefined;
  }
}
