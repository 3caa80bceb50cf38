import { setPriority } from "node:os";
import { parentPort, Worker } from "node:worker_threads";
import { messageOf } from "../../base/errors.ts";
import { Questions } from "../../base/questions.ts";
import { type LongLived, type Started, type Starter, startHere } from "./starter.ts";

/** What a thread of the agent's program is told that is to start processes (`workerData`). */
export const STARTER = "starter";

/** Nice value of the thread, and of what it runs for a moment: who waits for it is in a hurry. QEMUs lose it again. */
const NICE = -10;

type Asked =
  | {
      readonly id: number;
      readonly run: { readonly file: string; readonly args: readonly string[]; readonly timeout_ms: number };
    }
  | { readonly id: number; readonly start: LongLived };

type Told =
  | { readonly id: number; readonly pid: number }
  | { readonly id: number; readonly failed: string }
  | { readonly id: number; readonly ended: true };

/**
 * Starts processes in a thread of its own, so that the control plane does not stand still for it (see `startHere`). They
 * are children of the same process, and outlive it where the other ones would.
 */
export class StarterThread implements Starter, AsyncDisposable {
  readonly #worker: Worker;
  readonly #questions = new Questions();
  readonly #running = new Map<number, () => void>();

  /**
   * @param program the agent's own
   * @param onFailed the thread ended, or threw: the agent cannot go on without it
   */
  constructor(program: string, onFailed: (error: Error) => void) {
    this.#worker = new Worker(program, { workerData: STARTER });
    this.#worker.on("message", (told: Told) => this.#told(told));
    this.#worker.on("error", onFailed);
    this.#worker.on("exit", (code) => onFailed(new Error(`the thread that starts processes ended with code ${code}`)));
  }

  async run(file: string, args: readonly string[], timeout_ms: number): Promise<void> {
    await this.#ask((id) => ({ id, run: { file, args, timeout_ms } }));
  }

  async start(what: LongLived): Promise<Started> {
    const ended = Promise.withResolvers<void>();
    const pid = await this.#ask((id) => {
      this.#running.set(id, ended.resolve);
      return { id, start: what };
    });
    return { pid, exited: ended.promise };
  }

  /** What was started lives on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(what: (id: number) => Asked): Promise<number> {
    return this.#questions.ask((id) => this.#worker.postMessage(what(id)));
  }

  #told(told: Told): void {
    if ("ended" in told) {
      this.#running.get(told.id)?.();
      this.#running.delete(told.id);
      return;
    }
    if ("pid" in told) {
      this.#questions.answered(told.id, told.pid);
      return;
    }
    this.#running.delete(told.id);
    this.#questions.failed(told.id, new Error(told.failed));
  }
}

/** The thread's own side. */
export function runStarter(): void {
  const port = parentPort;
  if (port === null) throw new Error("processes are started in a thread of the agent");
  try {
    // 0 is the calling thread (setpriority(2): on Linux it is of a thread).
    setPriority(0, NICE);
  } catch {
    // Where it may not be, it takes a little longer.
  }
  const tell = (told: Told): void => port.postMessage(told);
  port.on("message", (asked: Asked) => {
    const { id } = asked;
    void answer(asked).then(
      ({ pid, exited }) => {
        tell({ id, pid });
        void exited?.then(() => tell({ id, ended: true }));
      },
      (error: unknown) => tell({ id, failed: messageOf(error) }),
    );
  });
}

async function answer(asked: Asked): Promise<{ readonly pid: number; readonly exited?: Promise<void> }> {
  if ("start" in asked) return await startHere.start(asked.start);
  const { file, args, timeout_ms } = asked.run;
  await startHere.run(file, args, timeout_ms);
  return { pid: 0 };
}
