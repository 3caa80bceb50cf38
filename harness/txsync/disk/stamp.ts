/**
 * Who connects, in the export's name: `disk0@7.2` is the second connection of the seventh owner. A later one closes
 * earlier ones out: what they have in hand, or what a link delivers late, changes nothing any more.
 */
export interface Stamp {
  readonly generation: number;
  readonly connection: number;
}

export const NO_STAMP: Stamp = { generation: 0, connection: 0 };

const PATTERN = /^(?<name>[^@]*)@(?<generation>\d{1,15})(?:\.(?<connection>\d{1,15}))?$/;

/** @returns the export's own name, and the stamp; a name without one has the lowest */
export function readStamp(name: string): { readonly name: string; readonly stamp: Stamp } {
  const found = PATTERN.exec(name)?.groups;
  if (found === undefined) return { name, stamp: NO_STAMP };
  const { name: own = "", generation, connection = "0" } = found;
  return { name: own, stamp: { generation: Number(generation), connection: Number(connection) } };
}

export function stamped(name: string, { generation, connection }: Stamp): string {
  return `${name}@${generation}.${connection}`;
}

/** Less than 0 where a is the earlier one. */
export function compareStamps(a: Stamp, b: Stamp): number {
  return a.generation - b.generation || a.connection - b.connection;
}
