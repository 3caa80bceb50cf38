import { expect, it } from "vitest";
import { Cluster } from "./cluster.ts";
import { DataThread, Inlet } from "./data-thread.ts";
import { NOTHING } from "./directed.ts";
import { TODAY } from "./model.ts";

const PIECE_BYTES = 257 * 1024;
const BYTES_PER_MS = 10_000;

/** What was read, in order: much of one connection is there, and a little comes of the other. */
function readInOrder(longTurns: boolean): readonly string[] {
  const cluster = new Cluster({ ...NOTHING, seed: 1 }, { model: { ...TODAY, longTurns } });
  const thread = new DataThread(cluster, cluster.hosts.escrow, BYTES_PER_MS);
  const read: string[] = [];
  const inlets = { base: new Inlet(() => undefined), record: new Inlet(() => undefined) };
  const come = (what: "base" | "record", held_ms: number): void =>
    thread.came(inlets[what], {
      bytes: PIECE_BYTES,
      read: () => {
        read.push(what);
        return held_ms;
      },
    });
  for (let i = 0; i < 16; i += 1) come("base", 0);
  for (let i = 0; i < 4; i += 1) come("record", 1);
  while (cluster.next_ms() < Number.POSITIVE_INFINITY) cluster.advance();
  return read;
}

it("reads of every connection in its turn, and of one that is held when what came is where it belongs", () => {
  const read = readInOrder(false);
  expect(read).toHaveLength(20);
  const base_before_last = read.lastIndexOf("record") - 3;
  expect(base_before_last).toBeLessThanOrEqual(12);
});

it("reads all of one before the next where there are no turns", () => {
  const read = readInOrder(true);
  expect(read.indexOf("record")).toBeGreaterThanOrEqual(15);
});
