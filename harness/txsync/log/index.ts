/** The transaction log and the promise, on disk; records and their digest. */
export { blockSeed, DigestSum, digestHex, type Lanes, lane1Of, lane2Of, pageLanes } from "./digest.ts";
export { type Files, type FolderOptions, folder, type LogFile, writeAll } from "./files.ts";
export type { IncomingRecord, IncomingWhole } from "./incoming.ts";
export { LogBrokenError, type LogOptions, NotInLogError, TransactionLog } from "./log.ts";
export { fileName, LogVersionError, logNumbers } from "./log-format.ts";
export { type LogEntry, neededParts } from "./log-index.ts";
export { PageIndex } from "./page-index.ts";
export { loadPromise, savePromise } from "./promise-store.ts";
export {
  type ModifiedSet,
  type OutputFrame,
  type PartPiece,
  type RecordBlock,
  RecordError,
  type RecordHead,
  RecordViolation,
  type Rule,
} from "./record.ts";
export {
  encodeRecord,
  encodeRecordAsRead,
  type PageBatch,
  RecordEncoder,
  type RecordFrame,
  type RecordParts,
} from "./record-encoder.ts";
export {
  type ParsedFrame,
  type ParsedPages,
  type ParsedPart,
  type RecordEnd,
  type RecordEvent,
  RecordParser,
} from "./record-parser.ts";
export { eventsOf, type Scanned, type ScanOptions, scan } from "./scan.ts";
export { batchOf, decodeRecord, pagesOf, partOf, type RecordPage, type WholeRecord } from "./whole-record.ts";
