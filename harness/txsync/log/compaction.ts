import { type Files, type LogFile, writeAll } from "./files.ts";
import { RecordIntake } from "./intake.ts";
import { encodeFileHeader, encodeMark, FILE_HEADER_BYTES, MARK_BYTES } from "./log-format.ts";
import { PageIndex } from "./page-index.ts";
import { type Snapshot, streamOf } from "./transaction-stream.ts";

const COPY_BYTES = 256 * 1024;

/** A new log file that says with one record what the old one says with many. */
export interface CompactedFile {
  readonly file: LogFile;
  readonly intake: RecordIntake;
  /** Bytes of header, record and mark: where what came later goes. */
  readonly end: number;
}

/**
 * Writes the snapshot into a new file, piece by piece, and proves while it does that what it read back from the old one
 * still has the digest. @param goOn told before every piece how many bytes were written; throws to give it up
 * @throws RecordViolation when the old file does not give what it was given
 */
export async function writeCompacted(
  files: Files,
  name: string,
  lineage: string,
  snapshot: Snapshot,
  goOn: (written_bytes: number) => void,
): Promise<CompactedFile> {
  const file = await files.open(name, "create");
  try {
    await writeAll(file, 0, encodeFileHeader(lineage));
    const intake = new RecordIntake(new PageIndex());
    let at = FILE_HEADER_BYTES;
    for await (const piece of streamOf(snapshot)) {
      goOn(at);
      intake.push(piece);
      await writeAll(file, at, piece);
      at += piece.length;
    }
    const { head, end } = intake.finish();
    const violation = intake.violation(null);
    if (violation !== null) throw violation;
    await writeAll(file, at, encodeMark(head.n, end.crc, snapshot.last.crc));
    return { file, intake, end: at + MARK_BYTES };
  } catch (error) {
    await file.close().catch(() => undefined);
    throw error;
  }
}

/** Copies bytes of one file to another, piece by piece. */
export async function copyBytes(
  from: { readonly file: LogFile; readonly offset: number },
  to: { readonly file: LogFile; readonly offset: number },
  length: number,
): Promise<void> {
  for (let done = 0; done < length; ) {
    const piece = await from.file.read(from.offset + done, Math.min(COPY_BYTES, length - done));
    if (piece.length === 0) throw new Error(`the log ends at byte ${from.offset + done}`);
    await writeAll(to.file, to.offset + done, piece);
    done += piece.length;
  }
}
