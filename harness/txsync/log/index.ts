/** The transaction log and the promise, on disk. */
export { type Files, folder, type LogFile } from "./files.ts";
export { type LogEntry, type LogOptions, type Restored, scan, TransactionLog } from "./log.ts";
export { loadPromise, savePromise } from "./promise-store.ts";
export {
  decodeRecord,
  encodeRecord,
  type OutputFrame,
  RecordError,
  type RecordPage,
  type RecordTables,
  type TransactionRecord,
} from "./record.ts";
