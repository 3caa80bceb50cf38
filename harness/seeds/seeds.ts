import { CORE_SEEDS } from "./core-seeds.ts";
import { EYE_SEEDS } from "./eye-seeds.ts";
import { PART_SEEDS } from "./part-seeds.ts";
import { PAST_SEEDS } from "./past-seeds.ts";
import type { Seed } from "./seed.ts";
import { WORLD_SEEDS } from "./world-seeds.ts";

/** Bugs by where they are: in the core, in other parts, in disks and network, in the checks' own eyes; and those that were there once. */
export const KINDS = {
  core: CORE_SEEDS,
  parts: PART_SEEDS,
  world: WORLD_SEEDS,
  past: PAST_SEEDS,
  eyes: EYE_SEEDS,
} as const;
export type Kind = keyof typeof KINDS;

/** Every bug that is put into a build, to see who finds it. */
export const SEEDS: readonly Seed[] = Object.values(KINDS).flat();

/** Those in what ships: a run of real parts may show them. */
export const SHIPPED: readonly Seed[] = SEEDS.filter((seed) => !EYE_SEEDS.includes(seed));

export function seedOf(name: string): Seed {
  const found = SEEDS.find((seed) => seed.name === name);
  if (found === undefined)
    throw new Error(`there is no seed ${name}; there are ${SEEDS.map((seed) => seed.name).join(", ")}`);
  return found;
}
