import type { Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { UserError } from "../../base/errors.ts";
import { answerSchema, type DaemonStatus, type DaemonWords, WORDS_SOCKET } from "./daemon-words.ts";
import { dial } from "./dial.ts";

const THERE_MS = 1_000;

interface Asked {
  readonly resolve: (status: DaemonStatus) => void;
  readonly reject: (error: Error) => void;
}

/** Whether a daemon serves the disks of this folder. */
export async function daemonIsThere(folder: string): Promise<boolean> {
  try {
    (await dial({ path: join(folder, WORDS_SOCKET) }, THERE_MS)).destroy();
    return true;
  } catch {
    return false;
  }
}

/** The agent's end of the words that it has with the daemon of its host's disks. */
export class DaemonClient implements Disposable {
  readonly #socket: Socket;
  readonly #asked = new Map<number, Asked>();
  #last = 0;
  #gone = false;

  private constructor(socket: Socket, onGone: () => void) {
    this.#socket = socket;
    socket.on("error", () => undefined);
    const lines = createInterface({ input: socket, crlfDelay: Number.POSITIVE_INFINITY });
    // It repeats the socket's: of a daemon that ended with a word unread.
    lines.on("error", () => undefined);
    lines.on("line", (line) => {
      const answer = answerSchema.parse(JSON.parse(line));
      const asked = this.#asked.get(answer.id);
      this.#asked.delete(answer.id);
      if ("error" in answer) asked?.reject(new UserError(`the disks: ${answer.error}`));
      else asked?.resolve(answer.status);
    });
    socket.on("close", () => {
      this.#gone = true;
      for (const { reject } of this.#asked.values()) reject(new Error("the daemon of the disks is gone"));
      this.#asked.clear();
      onGone();
    });
  }

  /** @throws Error when no daemon answers in this folder */
  static async connect(folder: string, timeout_ms: number, onGone: () => void): Promise<DaemonClient> {
    return new DaemonClient(await dial({ path: join(folder, WORDS_SOCKET) }, timeout_ms), onGone);
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** @throws UserError with what the daemon says is wrong */
  async ask(words: DaemonWords): Promise<DaemonStatus> {
    if (this.#gone) throw new Error("the daemon of the disks is gone");
    this.#last += 1;
    const id = this.#last;
    return await new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ ...words, id })}\n`);
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
