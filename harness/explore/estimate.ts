/** Fleet, boot, work, taking down, and what a GiB adds: before anything was measured. */
const GUESS_MS = { run: 15_000, gib: 25_000 };

/** What tells how long a run takes. */
export interface Kind {
  readonly recovery: string;
  readonly guest: string;
  readonly memory_mib: number;
}

/** How long the rest of a campaign will take: by what runs of the same kind took, else by a guess. */
export class Estimate {
  readonly #jobs: number;
  readonly #took = new Map<string, { total_ms: number; runs: number }>();

  /** @param jobs how many go on at a time */
  constructor(jobs: number) {
    this.#jobs = Math.max(1, jobs);
  }

  ran(kind: Kind, took_ms: number): void {
    const key = keyOf(kind);
    const { total_ms, runs } = this.#took.get(key) ?? { total_ms: 0, runs: 0 };
    this.#took.set(key, { total_ms: total_ms + took_ms, runs: runs + 1 });
  }

  one_ms(kind: Kind): number {
    const took = this.#took.get(keyOf(kind));
    if (took !== undefined) return took.total_ms / took.runs;
    return GUESS_MS.run + (GUESS_MS.gib * kind.memory_mib) / 1024;
  }

  left_ms(rest: readonly Kind[]): number {
    return rest.reduce((sum, kind) => sum + this.one_ms(kind), 0) / this.#jobs;
  }
}

function keyOf({ recovery, guest, memory_mib }: Kind): string {
  return `${recovery} ${guest} ${memory_mib}`;
}
