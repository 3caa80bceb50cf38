import { whileMoving } from "../../base/patience.ts";
import { waitFor } from "../../base/wait.ts";
import type { KeyOperation, NetworkOperation } from "../../checks/network-history.ts";
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

/** The store's clients: each has a connection of its own, and all read and write the same few keys. */
const KEY_CLIENTS = 3;
const KEYS = 4;
const KEY_THINK_MS = 100;

/**
 * Ordinary TCP clients, as a program for the outside's Node: each has one connection and one operation at a time. The
 * counter's answers come on a line of standard output as JSON `[seq, asked_ms, answered_ms, count, connection]`, -1 for an
 * operation without an answer; those of the store as `{ key: KeyOperation }`. Told to stop by SIGTERM, one more client reads
 * every key, by a connection of its own: the others' may stand still with what the VM forgot of them. By SIGINT nobody waits.
 */
const PROGRAM = `
const net = require("node:net");
const [host, port, think, silent, patience, clients, keys, thinkOfKeys] = process.argv.slice(1).map((text) => JSON.parse(text));
const say = (what) => console.log(JSON.stringify(what));
const working = new Set();
let stopping = false, order = 0;
const client = (think, next) => {
  const me = { seq: 0, connection: 0, up: false, asked: undefined };
  working.add(me);
  me.tell = (value) => { const { asked } = me; me.asked = undefined; asked?.done(value, me.connection); };
  me.end = () => { me.tell(undefined); working.delete(me); if (working.size === 0) process.exit(0); };
  const dial = () => {
    const socket = net.connect({ host, port, noDelay: true });
    let text = "", timer = setTimeout(() => socket.destroy(new Error("no answer to a SYN")), patience);
    const ask = () => {
      if (socket.destroyed) return;
      me.asked = next(me.seq + 1);
      if (me.asked === undefined) return me.end();
      me.seq += 1;
      timer = setTimeout(() => socket.destroy(new Error("silent for too long")), silent);
      socket.write(me.asked.words + "\\n");
    };
    socket.on("connect", () => { clearTimeout(timer); me.connection += 1; me.up = true; ask(); });
    socket.on("data", (bytes) => {
      text += bytes;
      for (let end = text.indexOf("\\n"); end >= 0; end = text.indexOf("\\n")) {
        const line = text.slice(0, end), [echo, value] = line.split(" ").map(Number);
        text = text.slice(end + 1);
        clearTimeout(timer);
        if (me.asked === undefined || echo !== me.seq) { say({ stray: line }); continue; }
        me.tell(value);
        setTimeout(ask, think);
      }
    });
    socket.on("error", (error) => me.connection > 0 && say({ broken: error.message }));
    socket.on("end", () => say({ broken: "the guest closed it" }));
    socket.on("close", () => { clearTimeout(timer); me.up = false; me.tell(undefined); if (stopping) me.end(); else setTimeout(dial, 50); });
  };
  dial();
};
client(think, (seq) => {
  if (stopping) return undefined;
  const at = Date.now();
  return { words: "add " + seq, done: (count, connection) => say([seq, at, count === undefined ? -1 : Date.now(), count ?? -1, connection]) };
});
const inOrder = (number, key, words, value) => {
  const began = ++order;
  const done = (told) => {
    if (value !== undefined && told !== undefined && told !== value) say({ stray: value + " was set, and " + told + " told" });
    say({ key: [number, key, value === undefined ? 0 : 1, value ?? told ?? -1, began, told === undefined ? -1 : ++order] });
  };
  return { words, done };
};
for (let number = 1; number <= clients; number += 1)
  client(thinkOfKeys, (seq) => {
    if (stopping) return undefined;
    const key = Math.floor(Math.random() * keys), value = number * 1e9 + seq;
    if (Math.random() < 0.5) return inOrder(number, key, "get " + seq + " " + key);
    return inOrder(number, key, "set " + seq + " " + key + " " + value, value);
  });
const endAll = () => { stopping = true; for (const me of [...working]) me.end(); };
process.on("SIGINT", endAll);
process.on("SIGTERM", () => {
  stopping = true;
  const before = [...working];
  client(0, (seq) => (seq > keys ? undefined : inOrder(clients + 1, seq - 1, "get " + seq + " " + (seq - 1))));
  for (const me of before) if (!me.up) me.end();
  setTimeout(endAll, ${LAST_ANSWER_MS});
});`;

/** What clients outside saw of the VM by its network card. */
export class NetworkClient implements Disposable {
  readonly #outside: Outside;
  readonly #process: HostProcess;
  readonly operations: NetworkOperation[] = [];
  readonly keys: KeyOperation[] = [];
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
    const of_keys = [KEY_CLIENTS, KEYS, KEY_THINK_MS];
    const words = [GUEST.host, GUEST.port, THINK_MS, SILENT_MS, CONNECT_MS, ...of_keys].map((word) =>
      JSON.stringify(word),
    );
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
   * Waits for one more answer, and has every key read once more, if there is somebody who could give them; then no more is
   * asked. A VM that nobody hears any more shows itself only when the client gives its operation up.
   */
  async stop(served: boolean): Promise<void> {
    if (this.#process.gone) return;
    const before = this.operations.length;
    const more = { what: "one more answer by the network card", timeout_ms: SILENT_MS + LAST_ANSWER_MS };
    if (served) await waitFor(more, () => (this.operations.length > before ? true : undefined)).catch(() => undefined);
    await this.#outside.spawn(["/bin/sh", "-c", `kill -${served ? "TERM" : "INT"} ${this.#process.pid}`]);
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
    if ("key" in told && Array.isArray(told.key)) {
      const [client = 0, key = 0, sets = 0, value = -1, began = 0, ended = -1] = told.key.map(Number);
      this.keys.push([client, key, sets, value, began, ended]);
    }
    if ("broken" in told) this.broken.push(String(told.broken));
    if ("stray" in told) this.strays.push(String(told.stray));
  }

  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]();
  }
}
