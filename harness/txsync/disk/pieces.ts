import { join } from "node:path";
import { UserError } from "../../base/errors.ts";
import { type DiskChange, Overlay } from "./overlay.ts";

/** What a record has of disks, as plain data: which writes, and where they lie on this host. */
export interface OverlayRange {
  /** Of the overlays, one in it for each disk. */
  readonly folder: string;
  readonly disks: readonly string[];
  /** Transactions behind this one, up to that one. */
  readonly after: number;
  readonly upto: number;
}

/** u8 length of the disk's name | name | u8 1 bytes follow, 0 zeros | u64 offset | u32 length | bytes */
const HEAD_BYTES = 13;

/**
 * The pieces that a record has of them, in the order of their transactions; each is read when it is asked for. What has
 * nothing to say still says so, once.
 */
export function* piecesOf({
  folder,
  disks,
  after,
  upto,
}: OverlayRange): Generator<{ readonly n: number; readonly bytes: Buffer }> {
  const sources = disks.map((disk) => ({ disk, changes: Overlay.changes(join(folder, disk), after, upto) }));
  try {
    const heads = sources.map(({ disk, changes }) => ({ disk, changes, next: changes.next().value }));
    let any = false;
    for (;;) {
      let first: (typeof heads)[number] | undefined;
      for (const head of heads)
        if (head.next !== undefined && (first?.next === undefined || head.next.n < first.next.n)) first = head;
      if (first?.next === undefined) break;
      any = true;
      yield { n: first.next.n, bytes: encodePiece(first.disk, first.next.change) };
      first.next = first.changes.next().value;
    }
    const [disk] = disks;
    if (!any && disk !== undefined) yield { n: upto, bytes: encodePiece(disk, { offset: 0, length: 0 }) };
  } finally {
    for (const { changes } of sources) changes.return(undefined);
  }
}

export function encodePiece(disk: string, { offset, length, bytes }: DiskChange): Buffer {
  const name = Buffer.from(disk);
  const head = Buffer.alloc(1 + name.length + HEAD_BYTES);
  head.writeUInt8(name.length, 0);
  name.copy(head, 1);
  head.writeUInt8(bytes === undefined ? 0 : 1, 1 + name.length);
  head.writeBigUInt64BE(BigInt(offset), 2 + name.length);
  head.writeUInt32BE(length, 10 + name.length);
  return bytes === undefined ? head : Buffer.concat([head, bytes]);
}

/** @throws UserError when these bytes are no piece of a disk */
export function decodePiece(bytes: Buffer): { readonly disk: string; readonly change: DiskChange } {
  const names = bytes.length === 0 ? 0 : bytes.readUInt8(0);
  const at = 1 + names;
  if (bytes.length < at + HEAD_BYTES) throw new UserError("a piece of a disk is cut off");
  const [offset, length] = [Number(bytes.readBigUInt64BE(at + 1)), bytes.readUInt32BE(at + 9)];
  const content = bytes.subarray(at + HEAD_BYTES);
  const zeros = bytes.readUInt8(at) === 0;
  if (content.length !== (zeros ? 0 : length)) throw new UserError("a piece of a disk has another length than it says");
  return {
    disk: bytes.toString("utf8", 1, at),
    change: zeros ? { offset, length } : { offset, length, bytes: content },
  };
}
