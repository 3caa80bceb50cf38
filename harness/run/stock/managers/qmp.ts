import { messageOf } from "../../../base/errors.ts";
import type { StartedVm } from "../../../fleet/vm.ts";
import { setMigrationParameters } from "../../../qemu/migration-api.ts";
import { linkWay } from "../addresses.ts";
import { prepareStream, type StreamUris } from "../stream.ts";
import {
  type Begun,
  isActive,
  isPaused,
  type ManagerContext,
  type Seen,
  type Side,
  type StockManager,
} from "./manager.ts";

/** Its policy, in milliseconds. It begins when nothing comes any more, and knows nothing of the guest's size. */
const STALLED_MS = 1_000;
export const RECOVERY_MS = 4_000;
/** For a monitor to answer a command that does nothing but begin or tell something. */
const ANSWER_MS = 400;
const RETRY_EVERY_MS = 200;

/** Asks the QEMUs for the migration over their monitors, and recovers nothing. */
export class QmpManager implements StockManager {
  protected readonly context: ManagerContext;
  protected uris: StreamUris | undefined;

  constructor(context: ManagerContext) {
    this.context = context;
  }

  async begin(): Promise<Begun> {
    const { source, target, plan, configuration } = this.context;
    this.uris = await prepareStream(
      configuration,
      { from: source, to: target },
      linkWay("source", "target"),
      plan.switchover !== "never",
    );
    await setMigrationParameters(source.control, {
      "max-bandwidth": plan.bandwidth_bytes_per_s,
      "max-postcopy-bandwidth": plan.bandwidth_bytes_per_s,
    });
    await target.control.execute("migrate-incoming", { uri: this.uris.listen });
    await source.control.execute("migrate", { uri: this.uris.connect });
    return { target };
  }

  async switchOver(): Promise<void> {
    await this.context.source.control.execute("migrate-start-postcopy").catch(() => undefined);
  }

  /** Whoever asks for the capability pause-before-switchover is asked: there is nothing to be done in between here. */
  async goOn(): Promise<void> {
    const { control } = this.context.source;
    await control.executeRaw("migrate-continue", { state: "pre-switchover" }).catch(() => undefined);
  }

  async cancel(): Promise<void> {
    await this.context.source.control.executeRaw("migrate_cancel").catch(() => undefined);
  }

  tend(_seen: Seen): Promise<string | undefined> {
    return Promise.resolve(undefined);
  }
}

/**
 * Recovers a migration with QEMU's own means, as an eager management layer does (QEMU docs/devel/migration/postcopy.rst,
 * "Postcopy recovery"): `migrate-pause` where the link went silent, `migrate-recover` on the target and `migrate` with
 * `resume` on the source once both are paused, again and again until it works or patience ends.
 */
export class EagerQmpManager extends QmpManager {
  readonly #patience_ms: number;
  #broken_since_ms: number | undefined;
  #tried_ms = Number.NEGATIVE_INFINITY;
  #left_at_ms = 0;
  /**
   * When the source last waited for the target to load the package (11.1). It sends no pages then and takes no pause, and one of
   * the target alone would make it give up and run again beside it.
   */
  #loading_ms = Number.NEGATIVE_INFINITY;
  /** Why the source would not go on, when it was asked to last. */
  #refused: string | undefined;

  constructor(context: ManagerContext) {
    super(context);
    this.#patience_ms = context.configuration.manager_patience_ms ?? RECOVERY_MS;
  }

  override async tend(seen: Seen): Promise<string | undefined> {
    const { source, target, now_ms, left_at_ms } = seen;
    if (left_at_ms > this.#left_at_ms && source.status === "postcopy-active") this.#broken_since_ms = undefined;
    this.#left_at_ms = left_at_ms;
    if (source.status === "postcopy-device") this.#loading_ms = now_ms;
    if (isPaused(source) || isPaused(target)) this.#broken_since_ms ??= now_ms;
    const broken_ms = now_ms - (this.#broken_since_ms ?? Number.POSITIVE_INFINITY);
    if (broken_ms > this.#patience_ms) {
      const said = this.#refused === undefined ? "" : `: ${this.#refused}`;
      return `postcopy-paused, and recovery did not work for ${this.#patience_ms} ms${said}`;
    }
    await this.#repair(seen);
    return undefined;
  }

  /** One attempt at QEMU's own recovery, where it is called for and the last one has had its time. */
  async #repair({ source, target, now_ms, left_at_ms, completing }: Seen): Promise<void> {
    if (isPaused(source) && (isPaused(target) || listensAgain(target)) && this.uris !== undefined) {
      if (now_ms - this.#tried_ms < RETRY_EVERY_MS) return;
      this.#tried_ms = now_ms;
      const refused = await this.#try(target.vm, "migrate-recover", { uri: this.uris.listen }, "oob");
      // A second migrate-recover while the first still listens is refused; then the listener is the one we want.
      if (refused !== undefined && !refused.includes("triggered already")) return;
      this.#refused = await this.#try(source.vm, "migrate", { uri: this.uris.connect, resume: true }, "control");
      return;
    }
    const half = (isPaused(source) && isActive(target)) || (isActive(source) && isPaused(target));
    // Once everything is sent, a pause would make the source give up and run again beside the target (seen with 10.0).
    const stalled = !completing && now_ms - Math.max(left_at_ms, this.#tried_ms, this.#loading_ms) > STALLED_MS;
    if (!(half && now_ms - this.#tried_ms > RETRY_EVERY_MS) && !stalled) return;
    this.#tried_ms = now_ms;
    this.#broken_since_ms ??= now_ms;
    this.context.timeline.emit("migration", { kind: "run.note", text: "no progress: the manager pauses both sides" });
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
      this.context.timeline.emit(vm.host.role, { kind: "run.note", text: `${command}: ${why}` });
      return why;
    }
  }
}

/**
 * After switchover: of a target that listens for a recovery 7.2 tells `setup`, though it is paused as before (QEMU 7.2:
 * migration/migration.c, qemu_start_incoming_migration). Where the recovery comes to nothing it is still that.
 */
function listensAgain({ status }: Side): boolean {
  return status === "setup";
}
