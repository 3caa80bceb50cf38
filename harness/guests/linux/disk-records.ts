import { PAGE_BYTES } from "../../base/page.ts";
import { versionOf } from "./pattern.ts";

/** What the Linux guest writes to its disks; fixtures/guests/linux/src/disk.c. */
export const RAW_SLOTS = 256;
export const FILE_RECORDS = 32;
export const FILES_KEPT = 8;

/** A record that is not what the guest wrote there last. */
export interface WrongRecord {
  readonly place: string;
  readonly expected: number;
  readonly found: number | "torn" | "missing";
  /** `older` and `future`: of the guest's own records; `other`: neither of them, or none. */
  readonly kind: "older" | "future" | "other";
}

/** The name of a record's page: disks' are apart from memory's. */
export function pageName(disk: number, place: number): number {
  return 0x8000_0000 + disk * 2 ** 24 + place;
}

/**
 * The ring of a disk of records, as it lies on the disk, against the number of records that the guest has written.
 * @param bytes the beginning of the disk, RAW_SLOTS pages
 */
export function wrongInRing(bytes: Buffer, seed: number, disk: number, told: number): readonly WrongRecord[] {
  return Array.from({ length: RAW_SLOTS }, (_, slot) => {
    const expected = told > slot ? told - ((told - 1 - slot) % RAW_SLOTS) : 0;
    return wrongAt(versionOf(pageAt(bytes, slot), seed, pageName(disk, slot)), expected, `slot ${slot}`);
  }).filter((wrong) => wrong !== undefined);
}

/** A file that has to be there, with the first of its records and how many it has. */
export interface ExpectedFile {
  readonly name: string;
  readonly first: number;
  readonly records: number;
}

/** The files of a file system on which the guest has written so many records. */
export function expectedFiles(told: number): readonly ExpectedFile[] {
  const full = Math.floor(told / FILE_RECORDS);
  const kept = Array.from(
    { length: Math.min(full, FILES_KEPT) },
    (_, at) => full - Math.min(full, FILES_KEPT) + 1 + at,
  );
  const files = kept.map((number) => ({
    name: String(number),
    first: (number - 1) * FILE_RECORDS + 1,
    records: FILE_RECORDS,
  }));
  const left = told % FILE_RECORDS;
  return left === 0 ? files : [...files, { name: "current", first: full * FILE_RECORDS + 1, records: left }];
}

/** What is wrong in a file, `bytes` undefined where there is none of that name. */
export function wrongInFile(
  bytes: Buffer | undefined,
  seed: number,
  disk: number,
  { name, first, records }: ExpectedFile,
): readonly WrongRecord[] {
  if (bytes === undefined) return [{ place: name, expected: first, found: "missing", kind: "other" }];
  const long = bytes.length > records * PAGE_BYTES;
  const extra: readonly WrongRecord[] = long
    ? [{ place: `end of ${name}`, expected: 0, found: first + records, kind: "future" }]
    : [];
  return [
    ...Array.from({ length: records }, (_, at) => {
      const found =
        pageAt(bytes, at).length === PAGE_BYTES ? versionOf(pageAt(bytes, at), seed, pageName(disk, 0)) : "missing";
      return wrongAt(found, first + at, `${name}, record ${at}`);
    }).filter((wrong) => wrong !== undefined),
    ...extra,
  ];
}

function pageAt(bytes: Buffer, place: number): Buffer {
  return bytes.subarray(place * PAGE_BYTES, (place + 1) * PAGE_BYTES);
}

function wrongAt(found: number | "torn" | "missing", expected: number, place: string): WrongRecord | undefined {
  if (found === expected) return undefined;
  const kind = typeof found === "string" ? "other" : found < expected ? "older" : "future";
  return { place, expected, found, kind };
}
