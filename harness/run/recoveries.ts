import { isLibvirt } from "../base/configuration.ts";
import type { Recovery } from "../base/run-record.ts";
import { managerOf } from "./configure.ts";
import type { RecoveryUnderTest, RunContext } from "./recovery.ts";
import { LibvirtRecovery } from "./stock/libvirt/recovery.ts";
import { StockRecovery } from "./stock/recovery.ts";
import { TxsyncRecovery } from "./txsync/recovery.ts";

/** Every recovery that can be put to the test, by its name. */
export const RECOVERIES: Readonly<Record<Recovery, (context: RunContext) => RecoveryUnderTest>> = {
  stock: (context) =>
    isLibvirt(managerOf(context.request)) ? new LibvirtRecovery(context) : new StockRecovery(context),
  txsync: (context) => new TxsyncRecovery(context),
};
