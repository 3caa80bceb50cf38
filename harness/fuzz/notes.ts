import { packPages, unpackPages } from "../txsync/data/page-runs.ts";
import { decodeNote, encodeNote, type Note } from "../txsync/pages/notes.ts";
import { PageFrameError } from "../txsync/pages/page-frames.ts";
import { catching, type FuzzTarget, ofBytes } from "./target.ts";

const PAGES = 4_096;

/** Pages of which every so-manieth is stale, and a row of them. */
const stale = (every: number, row: number): Buffer =>
  packPages(Uint8Array.from({ length: PAGES }, (_, page) => (page % every === 0 || page < row ? 1 : 0)));

function notes(): Buffer[] {
  const base = "0011223344556677";
  const blocks = [{ name: "ram0", bytes: PAGES * 4_096 }];
  const said: readonly Note[] = [
    { kind: "base-offered", base, blocks, from: "8899aabbccddeeff", final: true, changed: { ram0: [[1, 2]] } },
    { kind: "ahead-offered", base, machine: "pc-q35-10.0", blocks, turn: 3 },
    { kind: "ahead-ready", base, turn: 3, frames: 12 },
    { kind: "ahead-stale", base, block: "ram0", first: 0, pages: stale(7, 100).toString("base64") },
    { kind: "base-follows", base, of: { base, generation: 1, n: 2 } },
    {
      kind: "base-held",
      base,
      complete: true,
      share: 1,
      layout: { machine: "pc-q35-10.0", blocks },
      from: { ram0: 0 },
    },
    { kind: "log-wanted", question: 1, n: null, since: { lineage: "ab", n: 1 }, base },
    { kind: "record-spoilt", why: "cut off" },
  ];
  return said.map((note) => Buffer.concat(encodeNote(note)));
}

/** What agents tell each other beside pages and records; its list of pages is read as whoever takes it would. */
export function noteFrames(): FuzzTarget<Buffer> {
  return ofBytes("notes", notes, (bytes) =>
    catching<Error>(
      [PageFrameError, RangeError],
      () => {
        const note = decodeNote(bytes);
        if (note.kind !== "ahead-stale") return;
        if (note.first > PAGES) throw new RangeError("a page that is nowhere");
        unpackPages(Buffer.from(note.pages, "base64"), PAGES - note.first);
      },
      ({ message }) => ({ took: false, said: message }),
    ),
  );
}

/** The list by itself: behind base64 few broken ones would come to be read. */
export function pageRuns(): FuzzTarget<Buffer> {
  const seeds = (): Buffer[] => [stale(50, 0), stale(2, 0), stale(PAGES, PAGES), stale(PAGES, 1)];
  return ofBytes("page runs", seeds, (bytes) =>
    catching(
      [RangeError],
      () => {
        const { is, count } = unpackPages(bytes, PAGES);
        const found = is.reduce((sum, page) => sum + page, 0);
        if (found !== count) throw new Error(`${count} pages are said, and ${found} are there`);
      },
      ({ message }) => ({ took: false, said: message }),
    ),
  );
}
