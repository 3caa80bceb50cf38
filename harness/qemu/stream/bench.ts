/**
 * How fast the reader is, against a plain copy of the same bytes in the same run: `npx tsx harness/qemu/stream/bench.ts`.
 * The stream is full pages in parts of 128 KiB, as QEMU 11.1 sends them, in pieces of 64 KiB, as a socket gives them.
 */
import { PAGE_BYTES } from "../../base/page.ts";
import { StreamReader } from "./reader.ts";
import { ramPart } from "./writer.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const STREAM_PAGES = (64 * MIB) / PAGE_BYTES;
const PART_PAGES = 32;
const CHUNK_BYTES = 64 * 1024;
const ROUNDS = 15;
const LARGE_BYTES = 4 * MIB;

function stream(): Buffer {
  const page = Buffer.alloc(PAGE_BYTES, 0xa5);
  const parts = Array.from({ length: STREAM_PAGES / PART_PAGES }, (_, part) =>
    ramPart(
      2,
      Array.from({ length: PART_PAGES }, (_, index) => ({
        block: "ram0",
        page: part * PART_PAGES + index,
        bytes: page,
      })),
    ),
  );
  return Buffer.concat(parts.flat());
}

/** GiB/s of the best round. */
function best(bytes: number, round: () => void): number {
  const times_ms = Array.from({ length: ROUNDS }, () => {
    const began_ms = performance.now();
    round();
    return performance.now() - began_ms;
  });
  return bytes / GIB / (Math.min(...times_ms) / 1000);
}

function read(bytes: Buffer, chunk_bytes: number): void {
  let pages = 0;
  const reader = new StreamReader((record) => {
    if (record.kind === "ram-page") pages += 1;
  }, "top");
  for (let at = 0; at < bytes.length; at += chunk_bytes) reader.push(bytes.subarray(at, at + chunk_bytes));
  reader.end();
  if (pages !== STREAM_PAGES) throw new Error(`${pages} pages were read of ${STREAM_PAGES}`);
}

const bytes = stream();
const target = Buffer.alloc(bytes.length);
const copy = best(bytes.length, () => bytes.copy(target));
const small = best(bytes.length, () => read(bytes, CHUNK_BYTES));
const large = best(bytes.length, () => read(bytes, LARGE_BYTES));
process.stdout.write(
  `reader ${small.toFixed(2)} GiB/s in pieces of 64 KiB (${(small / copy).toFixed(2)} of a copy), ` +
    `${large.toFixed(2)} GiB/s in pieces of 4 MiB (${(large / copy).toFixed(2)}); copy ${copy.toFixed(2)} GiB/s\n`,
);
