/** The data plane: pages, base, records, log and restored memory, in a thread of its own. */
export { type DataClient, DataThread } from "./client.ts";
export { type Layout, loadLayout, saveLayout } from "./kept-base.ts";
export {
  type Ahead,
  decodePackage,
  encodePackage,
  forgetPackage,
  type KeptPackage,
  loadPackage,
  type Package,
  packageBytes,
  savePackage,
} from "./kept-package.ts";
export type { Finished, Rounds } from "./memory-ahead.ts";
export type {
  AheadOffer,
  BaseOf,
  DataCalls,
  DataConfig,
  DataEvent,
  RestoredMemory,
  StoreOutcome,
  TakenRecord,
} from "./protocol.ts";
export { basePath } from "./source-store.ts";
export { keep, kept } from "./whole-file.ts";
export { runDataPlane } from "./worker.ts";
