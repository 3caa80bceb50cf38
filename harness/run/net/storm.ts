import { waitFor } from "../../base/wait.ts";
import { AGENT_FILES } from "../../fleet/agent-files.ts";
import type { Outside } from "../../fleet/outside.ts";
import type { HostProcess } from "../../fleet/process.ts";

const GUEST = { host: "10.77.0.2", port: 7777 } as const;
/** With its headers not longer than an Ethernet frame. */
const DATAGRAM_BYTES = 1_000;
const TICK_MS = 10;
const ENDS_MS = 2_000;

/** Sends datagrams at a steady pace and counts what comes back; tells both when it is ended. */
const PROGRAM = `
const dgram = require("node:dgram");
const [host, port, rate, length, tick] = process.argv.slice(1).map((text) => JSON.parse(text));
const socket = dgram.createSocket("udp4"), bytes = Buffer.alloc(length, 7), began = performance.now();
let sent = 0, came = 0;
socket.on("message", () => { came += 1; });
socket.on("error", () => undefined);
socket.bind(() => setInterval(() => {
  for (const due = ((performance.now() - began) * rate) / 1000; sent < due; sent += 1) socket.send(bytes, port, host);
}, tick));
process.on("SIGTERM", () => { console.log(JSON.stringify({ sent, came })); process.exit(0); });`;

/** A flood of datagrams to the guest, which sends each one back. */
export class Storm implements Disposable {
  readonly #outside: Outside;
  readonly #process: HostProcess;
  /** Known when it was ended. */
  counted: { readonly sent: number; readonly came: number } | undefined;

  private constructor(outside: Outside, process: HostProcess) {
    this.#outside = outside;
    this.#process = process;
    process.onLine((line, output) => {
      const told = output === "stdout" ? /^\{"sent":(\d+),"came":(\d+)\}$/.exec(line) : null;
      if (told !== null) this.counted = { sent: Number(told[1]), came: Number(told[2]) };
    });
  }

  static async start(outside: Outside, datagrams_per_s: number): Promise<Storm> {
    const words = [GUEST.host, GUEST.port, datagrams_per_s, DATAGRAM_BYTES, TICK_MS].map((word) =>
      JSON.stringify(word),
    );
    return new Storm(outside, await outside.spawn([AGENT_FILES.node, "-e", PROGRAM, ...words]));
  }

  async end(): Promise<void> {
    if (this.#process.gone) return;
    await this.#outside.spawn(["/bin/sh", "-c", `kill -TERM ${this.#process.pid}`]);
    const gone = (): true | undefined => (this.#process.gone ? true : undefined);
    await waitFor({ what: "the storm to end", timeout_ms: ENDS_MS }, gone).catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.#process[Symbol.dispose]();
  }
}
