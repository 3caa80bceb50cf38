import { setImmediate as turn } from "node:timers/promises";
import type { QmpClient } from "../../qemu/qmp.ts";
import type { StatusInfo } from "../../qemu/qmp-protocol.ts";

/** The part of a QMP client that it takes to stop a guest. */
export type StoppingMonitor = Pick<QmpClient, "execute" | "on">;

export interface StoppingOptions {
  readonly qmp: StoppingMonitor;
  /** Bounds `stop`, ms: the page that a vCPU waits for may never come. */
  readonly timeout_ms: number;
  /** It stands still already, for who asks, and is not to run for this. */
  readonly stood?: boolean | undefined;
  /**
   * It has run since it was last let run, so where it stands somebody else has paused it (an operator, a debugger): QEMU is
   * asked, and it is left as it stood.
   */
  readonly ran?: boolean | undefined;
  /** Called when it is known that it runs again, or stands for somebody else. */
  readonly onLeft?: (() => void) | undefined;
}

const RELEASE_MS = 24 * 3600 * 1000;

/**
 * In which state somebody else has the VM stand still; undefined where it runs, or would with the next `cont`. So does one that
 * sleeps by itself (ACPI S3): since QEMU 9.0 `stop` pauses it like any other, and only `cont` lets it sleep on, to be woken
 * (system/runstate.c, vm_prepare_start); and one that waits for its disk, whose request `cont` has tried again.
 */
export function pausedAs({ running, status }: StatusInfo): string | undefined {
  return running || status === "suspended" || status === "io-error" ? undefined : status;
}

/** It is paused, and not by us: its device state says that it runs, and so it would where it goes. */
export class PausedError extends Error {
  constructor(paused: string) {
    super(`somebody has paused the VM (${paused}), and it would run where it goes: let it run first`);
  }
}

/**
 * A `stop` of a guest, by a monitor that others may have beside us, until it is left as it was. QEMU's events come over the
 * same monitor before what is answered after them, so they tell what the others did meanwhile.
 */
export class Stopping implements Disposable {
  readonly #options: StoppingOptions;
  readonly #looking: Promise<string | undefined>;
  readonly #unhear: () => void;
  #stopped_at_ms: number | undefined;
  #resumed_at_ms: number | undefined;
  #resumes = 0;
  #resets = 0;
  #paused: string | undefined;
  #releasing = false;
  /** Settles when the guest stands still, and it is known whether it did before. @throws what QMP throws: see `release` */
  readonly stands: Promise<void>;

  constructor(options: StoppingOptions) {
    const { qmp, timeout_ms, stood, ran } = options;
    this.#options = options;
    // RESUME is told before `cont` is answered (QEMU: system/cpus.c, vm_prepare_start).
    this.#unhear = qmp.on((event) => {
      if (event.kind === "stop") this.#stopped_at_ms = event.at_ms;
      if (event.kind === "resume") {
        this.#resumed_at_ms = event.at_ms;
        this.#resumes += 1;
      }
      if (event.kind === "reset") this.#resets += 1;
    });
    // Both in one go, and without a bound of its own: where `stop` hangs it may wait behind somebody else's that does.
    this.#looking =
      ran === true && stood !== true
        ? qmp.execute("query-status", undefined, { timeout_ms: RELEASE_MS }).then(pausedAs, () => undefined)
        : Promise.resolve(undefined);
    const stopping = qmp.execute("stop", undefined, { timeout_ms });
    this.stands = this.#untilItStands(stopping);
    this.stands.catch(() => undefined);
  }

  async #untilItStands(stopping: Promise<unknown>): Promise<void> {
    await stopping;
    if (!this.#ranAfterAll) this.#paused = await this.#looking;
  }

  /**
   * It stood when it was looked at, and our `stop` stopped it: somebody let it run in between. A STOP alone may be somebody
   * else's, on its way when we began.
   */
  get #ranAfterAll(): boolean {
    return this.#stopped_at_ms !== undefined && this.#resumes > 0;
  }

  /** In which state somebody else had it stand; known once it `stands`. */
  get paused(): string | undefined {
    return this.#paused;
  }

  /** It stood before, and is left so. */
  get stood(): boolean {
    return this.#paused !== undefined || (this.#options.stood === true && !this.#ranAfterAll);
  }

  /** When it was stopped, by this process's clock: QEMU is on the same host. Undefined where it was not told. */
  get stopped_ms(): number | undefined {
    return this.#stopped_at_ms === undefined ? undefined : this.#stopped_at_ms - performance.timeOrigin;
  }

  /** How long it stood, by QEMU's own stamps; undefined where the two were not both told. */
  get still_ms(): number | undefined {
    const [from, to] = [this.#stopped_at_ms, this.#resumed_at_ms];
    return from === undefined || to === undefined || to < from ? undefined : to - from;
  }

  /** Something failed while it stood: it runs, if it did before. */
  async goOn(): Promise<void> {
    if (!this.stood) await this.#options.qmp.execute("cont");
    this.#isLeft();
  }

  /** From now on one that stands was paused by somebody else; unless it stands for who asked. */
  #isLeft(): void {
    if (!this.stood || this.#paused !== undefined) this.#options.onLeft?.();
  }

  /** @returns whether it stood all the time until now, and was not reset */
  async undisturbed(): Promise<boolean> {
    const { running } = await this.#options.qmp.execute("query-status");
    return !running && this.#resumes === 0 && this.#resets === 0;
  }

  /**
   * All that was to be done while it stands is done.
   * @param goes whether it runs from now on, as it did before
   * @throws Error where it was let run, or reset, by somebody else meanwhile: what was looked at is of no one moment
   */
  async leave(goes: boolean): Promise<void> {
    const { qmp } = this.#options;
    // In one go: QEMU lets it run when it is done with the answer. What was told of before is here when that is.
    const looking = qmp.execute("query-status");
    const going = goes && !this.stood ? qmp.execute("cont") : undefined;
    going?.catch(() => undefined);
    const { running } = await looking;
    await going;
    if (going !== undefined || this.stood) this.#isLeft();
    this.#refuse(running || this.#resumes > (going === undefined ? 0 : 1));
  }

  /**
   * The same of one that stays, whose QEMU was frozen (SIGSTOP) right when it stood and answers nobody: what it had said by
   * then is heard.
   * @throws Error as `leave`
   */
  async leaveFrozen(): Promise<void> {
    // What came together with whatever was waited for last is read before that.
    await turn();
    this.#refuse(this.#resumes > 0);
  }

  #refuse(ran: boolean): void {
    if (ran) throw new Error("somebody else let the VM run in the middle of its transaction");
    if (this.#resets > 0) throw new Error("the VM was reset in the middle of its transaction");
  }

  /**
   * A `stop` that was not answered in time may take effect late: behind it the guest is let run, where it ran.
   * @returns settles when QEMU has done both
   */
  async release(): Promise<void> {
    this.#releasing = true;
    try {
      await this.#release();
    } finally {
      this.#unhear();
    }
  }

  async #release(): Promise<void> {
    const { qmp, stood, onLeft } = this.#options;
    const patience = { timeout_ms: RELEASE_MS };
    let stays = stood === true || (await this.#looking) !== undefined;
    if (stays) {
      // Answered when `stop` is over; what that one stopped had run.
      await qmp.execute("query-status", undefined, patience);
      stays = !this.#ranAfterAll;
    }
    if (!stays) await qmp.execute("cont", undefined, patience);
    if (!stays || stood !== true) onLeft?.();
  }

  /** Nothing is listened to any more, once what is to be released is. */
  [Symbol.dispose](): void {
    if (!this.#releasing) this.#unhear();
  }
}
