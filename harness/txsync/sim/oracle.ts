import type { Action, AgentState, Descriptor, Role } from "../core/index.ts";
import { isFree } from "../core/index.ts";
import { type Memory, sameMemory } from "./memory.ts";

/** A rule of the protocol was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly invariant: number;

  constructor(invariant: number, what: string) {
    super(`invariant ${invariant}: ${what}`);
    this.invariant = invariant;
  }
}

/** A state of the model VM: a hash over all that it went through, the frames that it has emitted (from 1), its memory. */
export interface Snapshot {
  readonly hash: number;
  readonly frames: readonly number[];
  readonly memory: Memory;
}

/**
 * Watches from outside, knows everything, and helps nobody: what was committed, what left the gates, what the
 * receiving edge took.
 */
export class Oracle {
  /** Content of frame f (index f-1) as the longest committed transaction has it. */
  #committed: readonly number[] = [];
  /** Marks of what was committed, and by generation and number which records. */
  #mark = 0;
  #stored = new Set<string>();
  /** Content of every frame that ever left a gate, index f-1. */
  #out: (number | undefined)[] = [];
  #releasers = new Map<number, Role>();
  #free: { readonly descriptor: Descriptor; readonly role: Role } | null = null;
  #protectedAfterFree = 0;
  /** Frames that the edge has taken, in order. */
  edge: number[] = [];

  /** One that has seen the same, for another way of going on. */
  copy(): Oracle {
    const copy = new Oracle();
    copy.#committed = this.#committed;
    copy.#mark = this.#mark;
    copy.#stored = new Set(this.#stored);
    copy.#out = this.#out.slice();
    copy.#releasers = new Map(this.#releasers);
    copy.#free = this.#free;
    copy.#protectedAfterFree = this.#protectedAfterFree;
    copy.edge = this.edge.slice();
    return copy;
  }

  /** All that it has seen, for whoever compares ways. */
  get seen(): readonly unknown[] {
    return [
      this.#committed,
      this.#mark,
      [...this.#stored],
      this.#out,
      [...this.#releasers].flat(),
      this.#free,
      this.#protectedAfterFree,
      this.edge,
    ];
  }

  get edgeCount(): number {
    return this.edge.length;
  }

  /** The package: the VM as it stood at switchover. */
  packaged(snapshot: Snapshot): void {
    this.#committed = snapshot.frames;
  }

  /**
   * The escrow has stored a record; `restored` is what base and log give now. One of a generation that was long superseded
   * for good commits nothing.
   */
  committed(snapshot: Snapshot, id: { generation: number; n: number; mark: number }, restored: Memory): void {
    const { generation, n, mark } = id;
    if (!sameMemory(snapshot.memory, restored)) {
      throw new Violation(5, `base and log do not give the memory of transaction ${n} of generation ${generation}`);
    }
    this.#stored.add(`${generation}:${n}`);
    if (this.#free !== null && generation < this.#free.descriptor.generation) return;
    if (mark < this.#mark) throw new Violation(5, `transaction ${n} was committed with a mark that went back`);
    this.#mark = mark;
    for (let i = 0; i < Math.min(this.#out.length, snapshot.frames.length); i += 1) {
      if (this.#out[i] !== undefined && this.#out[i] !== snapshot.frames[i]) {
        throw new Violation(1, `a transaction was committed that differs in frame ${i + 1} from what was let out`);
      }
    }
    if (snapshot.frames.length >= this.#committed.length) this.#committed = snapshot.frames;
  }

  /** An agent says that its VM is protected. */
  protectedBy(generation: number, n: number): void {
    if (this.#stored.has(`${generation}:${n}`)) return;
    throw new Violation(2, `protection is said to be on by transaction ${n} of generation ${generation}, not stored`);
  }

  opened(descriptor: Descriptor, role: Role, state: AgentState): void {
    if (isFree(descriptor)) {
      if (
        this.#free !== null &&
        this.#free.role !== role &&
        this.#free.descriptor.generation > this.#protectedAfterFree
      ) {
        throw new Violation(
          1,
          `${role} opened generation ${descriptor.generation} over a free one of ${this.#free.role}`,
        );
      }
      this.#free = { descriptor, role };
    } else if (descriptor.mode === "protected" && state.config.role === role) {
      this.#protectedAfterFree = descriptor.generation;
    }
  }

  /** A gate lets out frames from..to of the VM `vm`. `restoredMark`: it was restored, and is not known to run. */
  released(
    role: Role,
    action: Extract<Action, { kind: "releaseOutput" }>,
    state: AgentState,
    frames: readonly number[],
    restoredMark: number | null,
  ): void {
    const before = this.#releasers.get(action.generation);
    // Generation 0 and 1 are one VM's in two places: the source's output ends where the target's begins.
    if (before !== undefined && before !== role) {
      throw new Violation(1, `${before} and ${role} both let output out in generation ${action.generation}`);
    }
    this.#releasers.set(action.generation, role);
    if (restoredMark !== null && action.to > restoredMark) {
      throw new Violation(2, `${role} lets out frame ${action.to} of a VM that may have to be restored again`);
    }
    const free = isFree(state.opened);
    for (let f: number = action.from; f <= action.to; f += 1) {
      const content = frames[f - 1];
      if (content === undefined) throw new Violation(2, `${role} lets out frame ${f}, which the VM has not emitted`);
      if (!free && this.#committed[f - 1] !== content) {
        throw new Violation(
          2,
          `${role} lets out frame ${f} in generation ${action.generation}, no committed transaction has it`,
        );
      }
      const known = this.#out[f - 1];
      if (known !== undefined && known !== content) {
        throw new Violation(1, `frame ${f} was let out twice with different content, now by ${role}`);
      }
      this.#out[f - 1] = content;
    }
  }

  /** A restored VM is let go. It has to contain everything that anybody ever let out. */
  runs(role: Role, vm: Snapshot): void {
    for (let i = 0; i < this.#out.length; i += 1) {
      if (this.#out[i] !== undefined && this.#out[i] !== vm.frames[i]) {
        throw new Violation(1, `the VM restored on ${role} does not contain frame ${i + 1}, which was let out`);
      }
    }
  }

  /** A frame reaches the receiving edge: repeats are dropped, a gap is refused. Returns what became of it. */
  arrives(f: number, content: number): "taken" | "repeat" | "gap" {
    if (f <= this.edge.length) {
      if (this.edge[f - 1] !== content) throw new Violation(1, `the edge got frame ${f} with two contents`);
      return "repeat";
    }
    if (f > this.edge.length + 1) return "gap";
    this.edge.push(content);
    return "taken";
  }
}
