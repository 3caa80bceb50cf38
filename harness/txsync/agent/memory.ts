import { type AgentState, type HostMemory, ownOpened } from "../core/index.ts";
import type { Machine } from "./machine.ts";
import { TwoPlaces, type WriteAt } from "./two-places.ts";

/**
 * What outlives the agent but not its host: written to the host's tmpfs before any action of a step is carried out.
 * The file also says which QEMU is ours, so that a restarted agent finds it.
 */
export interface Remembered {
  readonly host: HostMemory;
  /** Number of the last QEMU that was started here; its folder is named for it. */
  readonly qemu: number;
  /** As whoever manages the agent described it, once they have. */
  readonly machine: Machine | null;
}

const NAME = "agent";
/** More than any description of a machine: what is remembered is some 2 KiB. */
const RESERVE_BYTES = 64 * 1024;

export class MemoryStore {
  readonly #places: TwoPlaces;
  readonly #found: Buffer | undefined;
  #last = "";

  constructor(folder: string, write?: WriteAt) {
    this.#places = new TwoPlaces(folder, NAME, RESERVE_BYTES, write);
    this.#found = this.#places.load()?.content;
  }

  /** What an earlier life had saved last. */
  load(): Remembered | null {
    return this.#found === undefined ? null : (JSON.parse(this.#found.toString()) as Remembered);
  }

  /** @throws what the file system does; then what was saved before is what is there */
  save(state: AgentState, qemu: number, machine: Machine | undefined): void {
    const host: HostMemory = {
      vm: state.vm,
      produced: state.gate.produced,
      acked: state.gate.acked,
      committed: state.tx.committed,
      hasBase: state.hasBase,
      hasPackage: state.hasPackage,
      allPages: state.allPages,
      restored: state.restored,
      contained: state.gate.committed,
      everFree: state.everFree,
      ranFree: state.ranFree,
      opened: ownOpened(state),
      leftAt: state.leftAt,
      protect: state.protect,
      base: state.base,
      log: state.log,
      logLost: state.logLost,
    };
    const text = JSON.stringify({ host, qemu, machine: machine ?? null } satisfies Remembered);
    if (text === this.#last) return;
    this.#places.replace(Buffer.from(text));
    this.#last = text;
  }
}
