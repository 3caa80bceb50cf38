import { messageOf } from "../../base/errors.ts";
import type { Message } from "../core/index.ts";
import type { Peers } from "../wire/index.ts";

type PackageMessage = Extract<Message, { kind: "package" }>;

/** How often it is told that bytes move. */
const MOVES_EVERY_MS = 40;
/** A connection that swallows what it is given is tried again after so many leases at the latest. */
const AGAIN_LEASES_MAX = 16;

export interface PackageSenderOptions {
  readonly peers: Pick<Peers<"package">, "connection" | "sendLong">;
  readonly lease_ms: number;
  /** What is sent with the word; undefined while there is none. */
  readonly body: () => readonly Uint8Array[] | undefined;
  /** Bytes of it move. */
  readonly onMoves: () => void;
  readonly onLog: (line: string) => void;
  /** A clock that only goes forward. */
  readonly now_ms?: () => number;
}

interface Sent {
  readonly connection: number;
  readonly began_ms: number;
  /** How long it is waited, when all of it is in the connection, before it goes into the same one once more. */
  wait_ms: number;
  /** Infinity while bytes of it wait here. */
  again_ms: number;
}

/**
 * Sends the package to the target. The core asks for it again while it hears nothing of it, and cannot see how far it is;
 * what still waits here is not sent twice. When all of it was handed over it may lie for long in buffers on the way,
 * where nobody sees it move: so into a connection that stands it goes again only after as long as handing it over took,
 * and twice as long with each time. Over another connection it goes at once: the one before may have lost it.
 */
export class PackageSender {
  readonly #options: PackageSenderOptions;
  readonly #now_ms: () => number;
  #sent: Sent | undefined;
  #told_ms = Number.NEGATIVE_INFINITY;

  constructor(options: PackageSenderOptions) {
    this.#options = options;
    this.#now_ms = options.now_ms ?? (() => performance.now());
  }

  send(message: PackageMessage): void {
    const { peers, lease_ms } = this.#options;
    const connection = peers.connection("target", "package");
    if (connection === undefined) return;
    const before = this.#sent?.connection === connection ? this.#sent : undefined;
    const now_ms = this.#now_ms();
    if (before !== undefined && now_ms < before.again_ms) return;
    const body = this.#options.body();
    if (body === undefined) return;
    const wait_ms = before === undefined ? lease_ms / 2 : Math.min(2 * before.wait_ms, AGAIN_LEASES_MAX * lease_ms);
    const sent: Sent = { connection, began_ms: now_ms, wait_ms, again_ms: Number.POSITIVE_INFINITY };
    this.#sent = sent;
    void this.#run(sent, message, body);
  }

  async #run(sent: Sent, message: PackageMessage, body: readonly Uint8Array[]): Promise<void> {
    const { peers, onLog } = this.#options;
    let whole = false;
    try {
      whole = await peers.sendLong("target", "package", message, body, () => this.#moves(sent));
    } catch (error) {
      onLog(`the package was not sent: ${messageOf(error)}`);
    }
    const now_ms = this.#now_ms();
    if (whole) sent.wait_ms = Math.max(sent.wait_ms, now_ms - sent.began_ms);
    sent.again_ms = now_ms + sent.wait_ms;
  }

  #moves(sent: Sent): void {
    const now_ms = this.#now_ms();
    if (this.#sent !== sent || now_ms - this.#told_ms < MOVES_EVERY_MS) return;
    this.#told_ms = now_ms;
    this.#options.onMoves();
  }
}
