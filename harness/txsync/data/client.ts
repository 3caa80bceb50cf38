import { Worker } from "node:worker_threads";
import { UserError } from "../../base/errors.ts";
import { Questions } from "../../base/questions.ts";
import type { DataCalls, DataConfig, DataEvent, FromData, ToData } from "./protocol.ts";

/** What the control plane needs of the data plane. */
export interface DataClient {
  /** @throws UserError with what the data plane says is wrong */
  ask<K extends keyof DataCalls>(call: K, what: Parameters<DataCalls[K]>[0]): Promise<ReturnType<DataCalls[K]>>;
}

/** The data plane in its thread: asked by name, answered later; tells what happens there in the order in which it does. */
export class DataThread implements DataClient {
  readonly #worker: Worker;
  readonly #questions = new Questions();

  /**
   * @param program file that runs the data plane where it is not the main thread: the agent's own
   * @param onFailed the thread ended, or threw: the agent cannot go on without it
   */
  constructor(options: {
    readonly program: string;
    readonly config: DataConfig;
    readonly onTell: (event: DataEvent) => void;
    readonly onFailed: (error: Error) => void;
  }) {
    this.#worker = new Worker(options.program, { workerData: options.config });
    this.#worker.on("message", (message: FromData) => {
      if ("tell" in message) {
        options.onTell(message.tell);
        return;
      }
      if ("error" in message) this.#questions.failed(message.id, new UserError(message.error));
      else this.#questions.answered(message.id, message.ok);
    });
    this.#worker.on("error", options.onFailed);
    this.#worker.on("exit", (code) => options.onFailed(new Error(`the data plane ended with code ${code}`)));
  }

  async ask<K extends keyof DataCalls>(call: K, what: Parameters<DataCalls[K]>[0]): Promise<ReturnType<DataCalls[K]>> {
    return await this.#questions.ask((id) => this.#worker.postMessage({ id, call, what } satisfies ToData));
  }
}
