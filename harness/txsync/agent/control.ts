import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type Socket } from "node:net";
import * as z from "zod";
import { messageOf, UserError } from "../../base/errors.ts";
import { LineCutter } from "../../base/lines.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import type { OutputFrame } from "../log/index.ts";
import { machineSchema } from "./machine.ts";

/**
 * The agent's port for whoever manages the host: one JSON object a line. The first says who may: `{"token":"..."}`, not
 * answered. Then `{"id":1,"do":"status"}` is answered by `{"id":1,"ok":...}` or `{"id":1,"error":"..."}`; `{"event":...}`
 * in between. And the receiving edge of the VM's output:
 *
 *     -> {"do":"edge","upTo":N}             the edge has all frames up to N
 *     <- {"frame":n,"generation":g,"channel":c,"bytes":base64}
 *     -> {"ack":n}   {"type":base64,"channel":c}
 */
const requestSchema = z.discriminatedUnion("do", [
  z.strictObject({
    id: z.int(),
    do: z.literal("prepare"),
    machine: machineSchema,
    start: z.enum(["boot", "incoming", "adopt", "nothing"]),
    /** Of the QEMU to adopt: one that an agent has started, whose agent is no more. */
    folder: z.string().optional(),
  }),
  z.strictObject({ id: z.int(), do: z.literal("migrate"), bytes_per_s: z.number().min(0) }),
  /** Protects the VM that runs here, without any migration, or does so no more. */
  z.strictObject({ id: z.int(), do: z.literal("protect"), on: z.boolean() }),
  /** Another escrow is there, in the place of one that is gone: it has this key. Of the agent whose VM is unprotected. */
  z.strictObject({ id: z.int(), do: z.literal("escrow"), key: z.string().regex(/^[0-9a-f]{32}$/) }),
  z.strictObject({ id: z.int(), do: z.literal("status") }),
  z.strictObject({ id: z.int(), do: z.literal("watch") }),
  z.strictObject({ id: z.int(), do: z.literal("edge"), upTo: z.int().min(0) }),
]);
export type ControlRequest = z.infer<typeof requestSchema>;

const edgeSchema = z.union([
  z.strictObject({ ack: z.int().min(0) }),
  z.strictObject({ type: z.string().max(1 << 20), channel: z.int().min(0).max(7) }),
]);

export interface ControlOptions {
  readonly listen: { readonly host: string; readonly port: number; readonly token: string };
  readonly answer: (request: ControlRequest) => Promise<unknown>;
  readonly onEdge: (upTo: number) => void;
  readonly onAck: (upTo: number) => void;
  readonly onType: (channel: number, bytes: Buffer) => void;
}

/** What may wait for somebody who does not read: events, and the output that waits at the gate, which comes in one go. */
const WATCHER_BYTES_MAX = 16 * 2 ** 20;
const EDGE_BYTES_MAX = 256 * 2 ** 20;

const LINE_BYTES_MAX = 4 * 2 ** 20;
const tokenSchema = z.strictObject({ token: z.string() });
const TOKEN_LINE_BYTES_MAX = 1024;
/** Who has not shown it by then may not keep a connection. */
const TOKEN_MS = 2_000;

export class Control {
  readonly #options: ControlOptions;
  readonly #watching = new Set<Socket>();
  #edge: Socket | undefined;

  constructor(options: ControlOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { listen } = this.#options;
    const server = createServer((socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(listen.port, listen.host, resolve);
    });
  }

  emit(event: TimelineEventBody): void {
    const line = `${JSON.stringify({ event })}\n`;
    for (const socket of this.#watching) {
      socket.write(line);
      if (socket.writableLength <= WATCHER_BYTES_MAX) continue;
      this.#watching.delete(socket);
      this.#drop(socket, "a watcher");
    }
  }

  /** Whoever does not read would have all of it kept in memory. It may come again. */
  #drop(socket: Socket, who: string): void {
    const waiting_mib = Math.round(socket.writableLength / 2 ** 20);
    socket.destroy();
    const line = `the connection of ${who} was closed: it does not read, and ${waiting_mib} MiB wait for it`;
    this.emit({ kind: "log", stream: "agent", line });
  }

  /** Lets frames out; where nobody receives, they are asked for again when somebody does. */
  letOut(generation: number, frames: readonly OutputFrame[]): void {
    for (const { number, channel, bytes } of frames) {
      const line = { frame: number, generation, channel, bytes: Buffer.from(bytes).toString("base64") };
      const edge = this.#edge;
      if (edge === undefined) return;
      edge.write(`${JSON.stringify(line)}\n`);
      if (edge.writableLength <= EDGE_BYTES_MAX) continue;
      this.#edge = undefined;
      this.#drop(edge, "the receiving edge");
    }
  }

  #accept(socket: Socket): void {
    socket.setNoDelay(true);
    const cutter = new LineCutter();
    let known = false;
    const deadline = setTimeout(() => socket.destroy(), TOKEN_MS);
    socket.setEncoding("utf8");
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      clearTimeout(deadline);
      this.#watching.delete(socket);
      if (this.#edge === socket) this.#edge = undefined;
    });
    socket.on("data", (text: string) => {
      for (const line of cutter.push(text)) {
        // What stands behind something that makes no sense is not believed either.
        if (socket.destroyed) return;
        if (known) void this.#line(socket, line);
        else if (this.#isToken(line)) {
          known = true;
          clearTimeout(deadline);
        } else {
          socket.write(`${JSON.stringify({ error: "the agent's token has to be shown first" })}\n`);
          socket.destroySoon();
          return;
        }
      }
      if (cutter.waiting > (known ? LINE_BYTES_MAX : TOKEN_LINE_BYTES_MAX)) socket.destroy();
    });
  }

  #isToken(line: string): boolean {
    let token: unknown;
    try {
      token = tokenSchema.parse(JSON.parse(line)).token;
    } catch {
      return false;
    }
    const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
    return timingSafeEqual(digest(String(token)), digest(this.#options.listen.token));
  }

  async #line(socket: Socket, line: string): Promise<void> {
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch (error) {
      socket.write(`${JSON.stringify({ error: `no JSON: ${messageOf(error)}` })}\n`);
      return;
    }
    if (this.#edge === socket) {
      const parsed = edgeSchema.safeParse(json);
      if (!parsed.success) return void socket.destroy();
      if ("ack" in parsed.data) this.#options.onAck(parsed.data.ack);
      else this.#options.onType(parsed.data.channel, Buffer.from(parsed.data.type, "base64"));
      return;
    }
    const parsed = requestSchema.safeParse(json);
    const id = typeof json === "object" && json !== null && "id" in json ? json.id : null;
    if (!parsed.success) {
      socket.write(`${JSON.stringify({ id, error: z.prettifyError(parsed.error) })}\n`);
      return;
    }
    const request = parsed.data;
    if (request.do === "watch") this.#watching.add(socket);
    if (request.do === "edge") {
      this.#edge?.destroy();
      this.#edge = socket;
      this.#options.onEdge(request.upTo);
      return;
    }
    try {
      socket.write(`${JSON.stringify({ id, ok: (await this.#options.answer(request)) ?? null })}\n`);
    } catch (error) {
      const kind = error instanceof UserError ? "" : `${(error as Error).name}: `;
      socket.write(`${JSON.stringify({ id, error: kind + messageOf(error) })}\n`);
    }
  }
}
