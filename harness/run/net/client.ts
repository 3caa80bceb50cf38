import { whileMoving } from "../../base/patience.ts";
import { waitFor } from "../../base/wait.ts";
import type { NetworkOperation } from "../../checks/network-history.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { Outside } from "../../fleet/outside.ts";
import type { HostProcess } from "../../fleet/process.ts";
import type { Looking } from "../looking.ts";

/** Where the guest's service is (fixtures/guests/linux/src/net.c). */
const GUEST = { host: "10.77.0.2", port: 7777 } as const;
/** Between an answer and the next question: the client's think time. */
const THINK_MS = 20;
/** An operation that has no answer for so long is given up as unknown, and the connection with it: longer than TCP is silent after any outage. */
const SILENT_MS = 30_000;
const CONNECT_MS = 2_000;
/** Before the migration. */
const OPERATIONS_TO_WARM_UP = 5;
/** For what is under way when the client is stopped: an answer waits for a commit at most. */
const LAST_ANSWER_MS = 3_000;

/**
 * An ordinary TCP client, as a program for the outside's Node: one connection, one operation at a time, each answer on a
 * line of standard output as JSON `[seq, asked_ms, answered_ms, count, connection]`, -1 for an operation without an answer.
 */
const PROGRAM = `
const net = require("node:net");
const [host, port, think, silent, patience] = process.argv.slice(1).map((text) => JSON.parse(text));
let seq = 0, connection = 0, stopping = false, asked, say;
const tell = (answered, count) => {
  if (asked === undefined) return;
  console.log(JSON.stringify([asked.seq, asked.at, answered, count, connection]));
  asked = undefined;
};
const dial = () => {
  const socket = net.connect({ host, port, noDelay: true });
  let text = "", timer = setTimeout(() => socket.destroy(new Error("no answer to a SYN")), patience);
  const ask = () => {
    if (stopping) return process.exit(0);
    asked = { seq: ++seq, at: Date.now() };
    timer = setTimeout(() => socket.destroy(new Error("silent for too long")), silent);
    socket.write("add " + asked.seq + "\\n");
  };
  socket.on("connect", () => { clearTimeout(timer); connection += 1; ask(); });
  socket.on("data", (bytes) => {
    text += bytes;
    for (let end = text.indexOf("\\n"); end >= 0; end = text.indexOf("\\n")) {
      const [echo, count] = text.slice(0, end).split(" ").map(Number);
      text = text.slice(end + 1);
      clearTimeout(timer);
      if (asked === undefined || echo !== asked.seq) { console.log(JSON.stringify({ stray: echo + " " + count, connection })); continue; }
      tell(Date.now(), count);
      setTimeout(ask, think);
    }
  });
  socket.on("error", (error) => connection > 0 && console.log(JSON.stringify({ broken: error.message, connection })));
  socket.on("end", () => console.log(JSON.stringify({ broken: "the guest closed it", connection })));
  socket.on("close", () => { clearTimeout(timer); tell(-1, -1); if (stopping) process.exit(0); setTimeout(dial, 50); });
};
process.on("SIGTERM", () => { stopping = true; if (asked === undefined) process.exit(0); setTimeout(() => { tell(-1, -1); process.exit(0); }, ${LAST_ANSWER_MS}); });
dial();`;

/** What a client outside saw of the VM by its network card. */
export class NetworkClient implements Disposable {
  readonly #outside: Outside;
  readonly #process: HostProcess;
  readonly operations: NetworkOperation[] = [];
  /** Connections that broke, with why; answers that nobody had asked for. */
  readonly broken: string[] = [];
  readonly strays: string[] = [];

  private constructor(outside: Outside, process: HostProcess) {
    this.#outside = outside;
    this.#process = process;
    process.onLine((line, output) => {
      if (output === "stdout") this.#heard(line);
    });
  }

  static async start(outside: Outside): Promise<NetworkClient> {
    const words = [GUEST.host, GUEST.port, THINK_MS, SILENT_MS, CONNECT_MS].map((word) => JSON.stringify(word));
    return new NetworkClient(outside, await outside.spawn([AGENT_FILES.node, "-e", PROGRAM, ...words]));
  }

  async warmedUp(looking: Looking): Promise<void> {
    const what = `${OPERATIONS_TO_WARM_UP} answers of the guest by its network card`;
    const answered = (): number => this.operations.length;
    await whileMoving(
      { what, ...looking, moves: () => `${answered()} answers`, lastLines: () => this.#process.lastLines() },
      () => (answered() >= OPERATIONS_TO_WARM_UP ? true : undefined),
    );
  }

  /**
   * Waits for one more answer, if there is somebody who could give it; then no more is asked. A VM that nobody hears any more
   * shows itself only when the client gives its operation up.
   */
  async stop(served: boolean): Promise<void> {
    if (this.#process.gone) return;
    const before = this.operations.length;
    const more = { what: "one more answer by the network card", timeout_ms: SILENT_MS + LAST_ANSWER_MS };
    if (served) await waitFor(more, () => (this.operations.length > before ? true : undefined)).catch(() => undefined);
    await this.#outside.spawn(["/bin/sh", "-c", `kill -TERM ${this.#process.pid}`]);
    await waitFor({ what: "the client outside to end", timeout_ms: LAST_ANSWER_MS + 2_000 }, () =>
      this.#process.gone ? true : undefined,
    ).catch(() => undefined);
  }

  #heard(line: string): void {
    let told: unknown;
    try {
      told = JSON.parse(line);
    } catch {
      return;
    }
    if (Array.isArray(told)) {
      const [seq = 0, asked_ms = 0, answered_ms = -1, count = -1, connection = 0] = told.map(Number);
      this.operations.push([seq, asked_ms, answered_ms, count, connection]);
      return;
    }
    if (typeof told !== "object" || told === null) return;
    if ("broken" in told) this.broken.push(String(told.broken));
    if ("stray" in told) this.strays.push(String(told.stray));
  }

  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]();
  }
}
