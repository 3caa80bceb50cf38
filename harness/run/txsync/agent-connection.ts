import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { LineCutter } from "../../base/lines.ts";
import type { StartedHost } from "../../fleet/host.ts";
import { PORTS } from "../../fleet/ports.ts";

const CONNECT_MS = 1_000;

export interface AgentConnectionOptions {
  readonly host: StartedHost;
  /** What the agent wants to see first. */
  readonly token: string;
  readonly reconnect_ms: number;
  readonly onOpen: (socket: Socket) => void;
  /** The lines that came together. */
  readonly onLines: (lines: readonly string[], socket: Socket) => void;
  readonly onClose: (socket: Socket) => void;
}

/** A connection to a host's agent, over the management network; made again until the host is gone. */
export class AgentConnection implements Disposable {
  readonly #options: AgentConnectionOptions;
  #socket: Socket | undefined;
  #closed = false;

  constructor(options: AgentConnectionOptions) {
    this.#options = options;
    void this.#keep();
  }

  async #keep(): Promise<void> {
    const { host, reconnect_ms } = this.#options;
    while (!this.#closed && !host.gone) {
      try {
        await this.#follow(await host.connect(PORTS.agent, CONNECT_MS));
      } catch {
        // Not there yet, or not any more.
      }
      await delay(reconnect_ms, undefined, { ref: false });
    }
  }

  async #follow(socket: Socket): Promise<void> {
    const { token, onOpen, onLines, onClose } = this.#options;
    if (this.#closed) socket.destroy();
    this.#socket = socket;
    const cutter = new LineCutter();
    socket.setEncoding("utf8");
    socket.write(`${JSON.stringify({ token })}\n`);
    onOpen(socket);
    await new Promise<void>((resolve) => {
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        onClose(socket);
        resolve();
      });
      socket.on("data", (text: string) => onLines(cutter.push(text), socket));
    });
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#socket?.destroy();
  }
}
