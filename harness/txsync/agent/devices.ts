import { NetworkCard } from "../device/network-card.ts";
import type { OutputSource } from "../device/output-source.ts";
import { SERIAL_LINES, SerialLine } from "../device/serial-line.ts";
import type { StatePart } from "../device/state-part.ts";
import type { Shell } from "./shell.ts";

/** In these states of a migration QEMU's main loop would wait for a page with a frame that comes in, and answer nothing. */
const TAKES_NOTHING_IN = ["postcopy-paused", "postcopy-recover", "postcopy-recover-setup"];
/** Before there is a transaction: a VM that changes hosts misses what came while it stood still on neither. */
const MISSED_MS = 300;
/**
 * Between what is committed and this agent's hearing of it lies a heartbeat, and what a link takes. And what was given to
 * QEMU may lie in its socket for as long as its main loop waits for a page, and is in no state then.
 */
const HEARD_LATE_MS = 1_000;

/** The devices of the VM at which the agent stands: a new kind is a file in harness/txsync/device and a line here. */
export interface Devices {
  /** What the VM tells the world, by channel. */
  readonly outputs: readonly OutputSource[];
  /** What a transaction has beside device state and RAM. */
  readonly parts: readonly StatePart[];
  readonly card: NetworkCard;
}

export function makeDevices(shell: Pick<Shell, "state" | "machine" | "slot">): Devices {
  const lines = SERIAL_LINES.map((name, channel) => new SerialLine(channel, name));
  const card = new NetworkCard({
    there: () => shell.machine().card !== undefined,
    takesIn: () => {
      const { vm } = shell.slot;
      return shell.state().vm === "running" && vm !== undefined && !TAKES_NOTHING_IN.includes(vm.migration);
    },
  });
  return { outputs: [...lines, card], parts: [], card };
}

/** Follows the transactions for the card's inbound frames: what the last committed one may lack is kept, and not more. */
export class InboundKeeper {
  readonly #shell: Pick<Shell, "state">;
  readonly #card: Pick<NetworkCard, "settled" | "give">;
  readonly #now_ms: () => number;
  #committed = 0;
  #heard_ms: number | undefined;

  constructor(
    shell: Pick<Shell, "state">,
    card: Pick<NetworkCard, "settled" | "give">,
    now_ms: () => number = () => performance.now(),
  ) {
    this.#shell = shell;
    this.#card = card;
    this.#now_ms = now_ms;
  }

  /** After every step of the core. */
  afterStep(): void {
    const now_ms = this.#now_ms();
    const { tx, peerTarget, peerSource, peerEscrow } = this.#shell.state();
    const known = [tx.committed, peerTarget?.committed, peerSource?.committed, peerEscrow?.log?.last];
    const committed = Math.max(0, ...known.map((n) => n ?? 0));
    if (committed > this.#committed) {
      // Its mark was set after the one before it was committed: one transaction is under way at a time.
      this.#card.settled((this.#heard_ms ?? now_ms) - HEARD_LATE_MS);
      this.#committed = committed;
      this.#heard_ms = now_ms;
    }
    if (committed === 0) this.#card.settled(now_ms - MISSED_MS);
    this.#card.give();
  }
}
