import { setTimeout as delay } from "node:timers/promises";
import type { Backend } from "./backend.ts";
import { NbdClient, NbdRequestError, RemoteBackend } from "./client.ts";
import { dial } from "./dial.ts";
import { stamped } from "./stamp.ts";

export interface StorageOptions {
  readonly host: string;
  readonly port: number;
  /** For so long it may be away, and what is asked of it waits. */
  readonly patience_ms: number;
  readonly onState: (state: "away" | "back", why: string) => void;
}

const ANSWER_MS = 5_000;
const AGAIN_MS = 100;

/**
 * A disk at the storage host. Whoever only reads is let in by anybody; who writes shows the generation of the VM that it
 * has, and the storage closes lower ones out before it answers.
 */
export class StorageDisk implements Backend {
  readonly size_bytes: number;
  readonly #name: string;
  readonly #options: StorageOptions;
  readonly #reader: RemoteBackend;
  #generation = -1;
  #last_number = 0;
  #writer: RemoteBackend | undefined;
  /** Of the writers before. */
  #lives = 0;
  #owning: Promise<void> = Promise.resolve();

  private constructor(name: string, options: StorageOptions, reader: RemoteBackend) {
    this.#name = name;
    this.#options = options;
    this.#reader = reader;
    this.size_bytes = reader.size_bytes;
  }

  static async open(name: string, options: StorageOptions): Promise<StorageDisk> {
    return new StorageDisk(name, options, await remote(options, () => name));
  }

  get life(): number {
    return this.#lives + (this.#writer?.life ?? 0);
  }

  /**
   * The VM of this generation is here: from now on nothing of a lower one reaches the disk.
   * @throws Error when a higher one has it
   */
  async own(generation: number): Promise<void> {
    const owning = this.#owning.then(() => this.#own(generation));
    this.#owning = owning.catch(() => undefined);
    await owning;
  }

  /** No VM of this host has the disk. What it had flushed is there. */
  async disown(): Promise<void> {
    const disowning = this.#owning.then(async () => {
      const before = this.#writer;
      this.#lives = this.life;
      this.#writer = undefined;
      await before?.close();
    });
    this.#owning = disowning.catch(() => undefined);
    await disowning;
  }

  async #own(generation: number): Promise<void> {
    if (generation === this.#generation && this.#writer !== undefined) return;
    const before = this.#writer;
    const writer = await remote(this.#options, () => stamped(this.#name, { generation, connection: this.#number() }));
    this.#lives = this.life;
    this.#writer = writer;
    this.#generation = generation;
    await before?.close();
  }

  /** Higher than that of whoever had it in an earlier life of this process, too. */
  #number(): number {
    this.#last_number = Math.max(this.#last_number + 1, Date.now());
    return this.#last_number;
  }

  read(offset: number, length: number): Promise<Buffer> {
    return this.#reader.read(offset, length);
  }

  write(offset: number, bytes: Buffer): Promise<void> {
    return this.#writing((writer) => writer.write(offset, bytes));
  }

  zero(offset: number, length: number): Promise<void> {
    return this.#writing((writer) => writer.zero(offset, length));
  }

  /** Nothing was written by who does not own it. */
  async flush(): Promise<void> {
    if (this.#writer !== undefined) await this.#writing((writer) => writer.flush());
  }

  async close(): Promise<void> {
    await this.#reader.close();
    await this.#writer?.close();
  }

  async #writing(what: (writer: RemoteBackend) => Promise<void>): Promise<void> {
    for (;;) {
      await this.#owning;
      const writer = this.#writer;
      if (writer === undefined) throw new NbdRequestError(`${this.#name} is not this VM's to write`);
      try {
        await what(writer);
        return;
      } catch (error) {
        // What was under way when the VM got another generation is this VM's all the same.
        await this.#owning;
        if (this.#writer === writer) throw error;
      }
    }
  }
}

async function remote(options: StorageOptions, nameOf: () => string): Promise<RemoteBackend> {
  const { host, port, patience_ms, onState } = options;
  return await RemoteBackend.open({
    connect: async () => await NbdClient.open(await dial({ host, port }, ANSWER_MS), nameOf(), ANSWER_MS, patience_ms),
    pause: async (signal) => {
      await delay(AGAIN_MS, undefined, { signal });
    },
    patience_ms,
    onState,
  });
}
