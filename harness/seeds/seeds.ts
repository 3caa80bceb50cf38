import { CORE_SEEDS } from "./core-seeds.ts";
import { PART_SEEDS } from "./part-seeds.ts";
import type { Seed } from "./seed.ts";

/** Every bug that is put into a build of the system, to see who finds it. */
export const SEEDS: readonly Seed[] = [...CORE_SEEDS, ...PART_SEEDS];

export function seedOf(name: string): Seed {
  const found = SEEDS.find((seed) => seed.name === name);
  if (found === undefined)
    throw new Error(`there is no seed ${name}; there are ${SEEDS.map((seed) => seed.name).join(", ")}`);
  return found;
}
