import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AgentState, HostMemory } from "../core/index.ts";
import { writeWhole } from "../data/index.ts";
import type { Machine } from "./machine.ts";

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

const NAME = "agent.json";

export class MemoryStore {
  readonly #path: string;
  #last = "";

  constructor(folder: string) {
    this.#path = join(folder, NAME);
  }

  load(): Remembered | null {
    if (!existsSync(this.#path)) return null;
    return JSON.parse(readFileSync(this.#path, "utf8")) as Remembered;
  }

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
      everFree: state.everFree,
      ranFree: state.ranFree,
      leftAt: state.leftAt,
      protect: state.protect,
      base: state.base,
      log: state.log,
    };
    const text = JSON.stringify({ host, qemu, machine: machine ?? null } satisfies Remembered);
    if (text === this.#last) return;
    writeWhole(this.#path, text);
    this.#last = text;
  }
}
