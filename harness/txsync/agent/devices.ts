import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isOwner, lettingOutFreely } from "../core/index.ts";
import { DiskPart, type Ownership } from "../device/disk-part.ts";
import { NetworkCard } from "../device/network-card.ts";
import type { OutputSource } from "../device/output-source.ts";
import { SERIAL_LINES, SerialLine } from "../device/serial-line.ts";
import type { StatePart } from "../device/state-part.ts";
import type { DaemonConfig } from "../disk/index.ts";
import type { AgentConfig } from "./config.ts";
import { log, type Shell } from "./shell.ts";
import { spawnApart } from "./starter.ts";
import { disksFolder } from "./vm-process.ts";

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
  readonly disks: DiskPart | undefined;
}

export function makeDevices(shell: Pick<Shell, "config" | "state" | "machine" | "slot" | "data" | "emit">): Devices {
  const lines = SERIAL_LINES.map((name, channel) => new SerialLine(channel, name));
  const card = new NetworkCard({
    there: () => shell.machine().card !== undefined,
    takesIn: () => {
      const { vm } = shell.slot;
      return shell.state().vm === "running" && vm !== undefined && !TAKES_NOTHING_IN.includes(vm.migration);
    },
    say: (line) => log(shell, line),
  });
  const disks = makeDisks(shell);
  return { outputs: [...lines, card], parts: disks === undefined ? [] : [disks], card, disks };
}

function makeDisks(shell: Pick<Shell, "config" | "slot" | "data" | "emit">): DiskPart | undefined {
  const { config } = shell;
  // The escrow has no VM.
  if (config.disks === undefined || config.role === "escrow") return undefined;
  const folder = disksFolder(config);
  const { names, storage, patience_ms } = config.disks;
  return new DiskPart({
    folder,
    disks: names,
    start: () => startDaemon(config, { folder, disks: names, storage, patience_ms }),
    // One that stands by may be the one that is to run; of all others none may do anything any more.
    lowestQemu: () => shell.slot.number + (shell.slot.as === "standby" ? 0 : 1),
    dead: () => shell.slot.number + (shell.slot.as === "none" ? 1 : 0),
    recordDropped: async () => await shell.data.ask("dropRecord", {}),
    say: (line) => log(shell, line),
    onStorage: (state) =>
      shell.emit({
        kind: "run.note",
        text:
          state === "away" ? "the storage of the VM's disks does not answer: the guest waits" : "the storage is back",
      }),
  });
}

/** It outlives the agent, as QEMU does. Where there is one already, it finds that out and ends. */
function startDaemon({ memory_folder, pagescan }: AgentConfig, config: DaemonConfig): void {
  const program = process.argv[1];
  if (program === undefined) throw new Error("the agent does not know its own program");
  mkdirSync(config.folder, { recursive: true, mode: 0o700 });
  const args = [program, "disks", JSON.stringify(config), pagescan];
  const daemon = spawnApart({ file: process.execPath, args, log: join(memory_folder, "disks.log"), env: {} });
  daemon.on("error", () => undefined);
}

/** Whose the disks of this host are, by what the core knows. */
export function ownershipOf(state: ReturnType<Shell["state"]>): Ownership {
  if (state.vm === "none" || state.vm === "gone") return { kind: "nobody" };
  // One that came up again does not know yet whether it is the owner: what is here stays as it is.
  if (state.vm !== "running" || !isOwner(state)) return { kind: "open" };
  return { kind: "owned", generation: state.opened.generation, through: lettingOutFreely(state) };
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
