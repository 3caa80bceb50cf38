import type { Recovery } from "../base/run-record.ts";
import type { RecoveryUnderTest, RunContext } from "./recovery.ts";
import { StockRecovery } from "./stock/recovery.ts";
import { TxsyncRecovery } from "./txsync/recovery.ts";

/** Every recovery that can be put to the test, by its name. */
export const RECOVERIES: Readonly<Record<Recovery, (context: RunContext) => RecoveryUnderTest>> = {
  stock: (context) => new StockRecovery(context),
  txsync: (context) => new TxsyncRecovery(context),
};
