import { setImmediate } from "node:timers/promises";
import { messageOf } from "../../base/errors.ts";
import type { HostRole } from "../../base/timeline.ts";
import { pause, waitFor, within } from "../../base/wait.ts";
import type { ClientFindings } from "../../checks/client-history.ts";
import type { Reach } from "../net/reach.ts";
import type { HistoryClient, HistoryClientInRun, Operation } from "./history-client.ts";

/** An operation that takes longer is given up as unknown: longer than TCP is silent after any outage. */
const OPERATION_MS = 30_000;
/** After one that failed: a VM that boots refuses at once, and often. */
const AGAIN_MS = 100;
const CHECK_MS = 60_000;
/** For what is under way when the client is stopped: an answer waits for a commit at most. */
const LAST_MS = 5_000;

/** Has a client of the user's do one operation after the other, and keeps its history. */
export class ClientRunner implements Disposable {
  readonly #name: string;
  readonly #client: HistoryClientInRun;
  readonly #reach: Reach;
  readonly #onAcknowledged: (from: HostRole) => void;
  readonly #history: Operation[] = [];
  readonly #began_ms = performance.now();
  readonly #stop = new AbortController();
  #ending = false;
  #over = false;
  #acknowledged = 0;
  /** Before the first acknowledgement nobody was there to be asked: those are no part of the history. */
  #n = 0;

  private constructor(
    name: string,
    client: HistoryClientInRun,
    reach: Reach,
    onAcknowledged: (from: HostRole) => void,
  ) {
    this.#name = name;
    this.#client = client;
    this.#reach = reach;
    this.#onAcknowledged = onAcknowledged;
  }

  /** @param onAcknowledged called with the host from which the VM's last word came */
  static start(
    client: HistoryClient,
    reach: Reach,
    { seed }: { readonly seed: number },
    onAcknowledged: (from: HostRole) => void,
  ): ClientRunner {
    const runner = new ClientRunner(client.name, client.start(reach, { seed }), reach, onAcknowledged);
    void runner.#work();
    return runner;
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Why the last operation that failed did. */
  get lastWhy(): string | undefined {
    return this.#history.findLast(({ why }) => why !== undefined)?.why;
  }

  async #work(): Promise<void> {
    const { signal } = this.#stop;
    while (!this.#ending && !signal.aborted) {
      const n = ++this.#n;
      const invoked_ms = this.#now();
      try {
        const what = `operation ${n} of the client ${this.#name} to be acknowledged`;
        const value = await within({ what, timeout_ms: OPERATION_MS, signal }, this.#client.invoke(n));
        const ended_ms = this.#now();
        this.#history.push({
          n,
          invoked_ms,
          ended_ms,
          outcome: "acknowledged",
          ...(value === undefined ? {} : { value }),
        });
        this.#acknowledged += 1;
        this.#onAcknowledged(this.#reach.from);
      } catch (error) {
        this.#history.push({ n, invoked_ms, ended_ms: this.#now(), outcome: "unknown", why: messageOf(error) });
        await pause(AGAIN_MS, signal).catch(() => undefined);
      }
      // A client that is answered at once must not keep everybody else from their turns.
      await setImmediate();
    }
    this.#over = true;
  }

  #now(): number {
    return Math.round(performance.now() - this.#began_ms);
  }

  /** Begins nothing more; what is under way may still end, if there is somebody who could acknowledge it. */
  async stop(served: boolean): Promise<void> {
    const last = { what: "the client's last operation", timeout_ms: LAST_MS };
    const over = (): true | undefined => this.#over || undefined;
    this.#ending = true;
    if (served) await waitFor(last, over).catch(() => undefined);
    this.#stop.abort(new Error("the client was stopped"));
    await waitFor(last, over).catch(() => undefined);
  }

  /** What the client makes of the VM that has arrived. */
  async look(): Promise<ClientFindings> {
    const history = [...this.#history];
    const found = await within(
      { what: `the client ${this.#name} to look at the VM`, timeout_ms: CHECK_MS },
      this.#client.check(history),
    );
    const acknowledged = history.filter(({ outcome }) => outcome === "acknowledged");
    const first = history.findIndex(({ outcome }) => outcome === "acknowledged");
    const waits = acknowledged.map(({ invoked_ms, ended_ms }) => ended_ms - invoked_ms);
    return {
      name: this.#name,
      acknowledged: acknowledged.length,
      unknown: first < 0 ? 0 : history.slice(first).length - acknowledged.length,
      longest_ms: Math.max(0, ...waits),
      whole: found.whole,
      summary: found.summary,
    };
  }

  [Symbol.dispose](): void {
    this.#stop.abort(new Error("the run is over"));
    this.#client.close?.();
  }
}
