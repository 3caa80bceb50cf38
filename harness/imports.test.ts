import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";

/**
 * The direction of imports, which is the shape of the house: a room may import what stands below it and nothing else,
 * types included. What is wrong here is mended by moving code, not by moving a room up; a new room gets its place here.
 *
 *     library -> {fuzz, seeds} -> cli -> reports -> bench -> scenarios -> explore -> run -> {faults, checks, drill} -> {fleet, txsync} -> {qemu, guests} -> base
 *
 * txsync imports nothing but qemu and base: it could be shipped alone. reports imports base, and what bench's figures are:
 * whoever has a run's folder can draw it again. What is TypeScript in fixtures records samples of QEMU's stream; nobody imports it.
 */
const FLOORS: readonly (readonly string[])[] = [
  ["library"],
  ["fuzz", "seeds"],
  ["cli"],
  ["reports"],
  ["bench"],
  ["scenarios"],
  ["explore"],
  ["run"],
  ["faults", "checks", "drill"],
  ["fleet", "txsync"],
  ["fixtures"],
  ["qemu", "guests"],
  ["base"],
];

/** Rooms that may import less than what stands below them. */
const ONLY: Readonly<Record<string, readonly string[]>> = {
  txsync: ["qemu", "base"],
  reports: ["bench", "base"],
};

/** Inside txsync, from top to bottom, and what each room imports of the others. */
const TXSYNC: Readonly<Record<string, readonly string[]>> = {
  agent: ["data", "relay", "restore", "transaction", "device", "disk", "log", "pages", "wire", "dirty", "core"],
  data: ["relay", "device", "log", "pages", "wire", "dirty", "core"],
  relay: ["pages", "dirty"],
  restore: ["dirty"],
  transaction: ["dirty", "core"],
  device: ["disk", "log", "core"],
  search: ["sim", "core"],
  sim: ["pages", "wire", "core"],
  pages: ["dirty", "core"],
  log: ["core"],
  wire: ["core"],
  disk: [],
  dirty: [],
  core: [],
};

/** Where the tree breaks the line today, and why; tests by their room. One that is not needed any more fails too. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  "tests of run -> scenarios": "they look at scenarios as they are",
  "tests of run -> cli": "what was written down is judged again, as `ferryman judge` does it",
  "tests of scenarios -> library": "our own suite is written with what others import",
  "tests of explore -> scenarios": "the model of expectations has to allow what scenarios expect",
  "tests of core -> wire": "what the core says has to pass the wire's schema",
  "tests of pages -> sim": "they use the simulator's random numbers",
};

const ROOT = normalize(join(import.meta.dirname, ".."));
const TREES = ["harness", "scenarios", "reports", "fixtures"];
/** Tests of the house as a whole, which are in no room. */
const HOUSE_RULES = /^harness\/\w+\.test\.ts$/;
/** A test, or what only tests use. */
const TEST = /\.test\.ts$|\/testing\//;
const IMPORT = /(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g;

interface Place {
  readonly room: string;
  /** Inside txsync. */
  readonly inner: string | undefined;
}

interface Arrow {
  readonly file: string;
  readonly from: Place;
  readonly to: Place;
}

function placeOf(file: string): Place {
  const [tree = "", second = "", third = ""] = file.split("/");
  if (tree !== "harness") return { room: tree, inner: undefined };
  if (second === "cli.ts") return { room: "cli", inner: undefined };
  if (second === "index.ts") return { room: "library", inner: undefined };
  return { room: second, inner: second === "txsync" ? third : undefined };
}

function filesUnder(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name}`)
    .filter((name) => name.endsWith(".ts") && !name.includes("node_modules/") && !name.startsWith("reports/runs/"));
}

function arrowsOf(file: string): Arrow[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  return [...text.matchAll(IMPORT)].map(([, path = ""]) => ({
    file,
    from: placeOf(file),
    to: placeOf(normalize(join(dirname(file), path))),
  }));
}

const FILES = TREES.flatMap(filesUnder);
const ARROWS = FILES.flatMap(arrowsOf);

function floorOf(room: string): number {
  return FLOORS.findIndex((rooms) => rooms.includes(room));
}

/** The arrow in the words of `EXCEPTIONS` where it breaks the line. */
function broken({ file, from, to }: Arrow): string | undefined {
  if (from.room !== to.room) {
    const down = floorOf(to.room) > floorOf(from.room);
    const may = ONLY[from.room]?.includes(to.room) ?? true;
    return down && may ? undefined : `${TEST.test(file) ? `tests of ${from.room}` : file} -> ${to.room}`;
  }
  if (from.inner === undefined || to.inner === undefined || from.inner === to.inner) return undefined;
  if (TXSYNC[from.inner]?.includes(to.inner) === true) return undefined;
  return `${TEST.test(file) ? `tests of ${from.inner}` : file} -> ${to.inner}`;
}

describe("imports go one way", () => {
  it("knows every room", () => {
    const places = FILES.filter((file) => !HOUSE_RULES.test(file)).map(placeOf);
    expect([...new Set(places.map(({ room }) => room))].filter((room) => floorOf(room) < 0)).toEqual([]);
    const inner = new Set(places.flatMap((place) => place.inner ?? []));
    expect([...inner].filter((room) => !(room in TXSYNC))).toEqual([]);
  });

  it("has txsync's rooms in an order in which each imports only what stands below it", () => {
    const order = Object.keys(TXSYNC);
    for (const [room, may] of Object.entries(TXSYNC))
      for (const below of may) expect(order.indexOf(below), `${room} -> ${below}`).toBeGreaterThan(order.indexOf(room));
  });

  it("breaks the line nowhere but where it is named, and names nothing that is mended", () => {
    expect(ARROWS.length).toBeGreaterThan(500);
    const found = new Set(ARROWS.flatMap((arrow) => broken(arrow) ?? []));
    expect([...found].sort()).toEqual(Object.keys(EXCEPTIONS).sort());
  });
});
