import type { Planned } from "./plan.ts";

/** Fleet, boot, work and taking down, and what a GiB adds (carrying, checking): before anything was measured. */
const GUESS_MS = { run: 12_000, gib: 25_000 };

/** How long the rest of a bench will take: by what runs of the same kind took, else by a guess scaled by the others. */
export class Estimate {
  readonly #took = new Map<string, number[]>();
  #measured_ms = 0;
  #guessed_ms = 0;

  ran(run: Planned, took_ms: number): void {
    const key = keyOf(run);
    this.#took.set(key, [...(this.#took.get(key) ?? []), took_ms]);
    this.#measured_ms += took_ms;
    this.#guessed_ms += guessOf(run);
  }

  left_ms(rest: readonly Planned[]): number {
    const scale = this.#guessed_ms > 0 ? this.#measured_ms / this.#guessed_ms : 1;
    return rest.reduce((total, run) => {
      const took = this.#took.get(keyOf(run));
      if (took === undefined) return total + guessOf(run) * scale;
      return total + took.reduce((sum, ms) => sum + ms, 0) / took.length;
    }, 0);
  }
}

function keyOf({ scenario, recovery, variant, memory_mib, write_rate_pages_per_s }: Planned): string {
  return [scenario, recovery, variant, memory_mib, write_rate_pages_per_s].join(" ");
}

function guessOf({ memory_mib }: Planned): number {
  return GUESS_MS.run + (GUESS_MS.gib * memory_mib) / 1024;
}

/** A duration for people, no finer than it is known: `40 s`, `12 min`, `3 h 05 min`. */
export function roughly(value_ms: number): string {
  const seconds = Math.max(0, Math.round(value_ms / 1000));
  if (seconds < 100) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
