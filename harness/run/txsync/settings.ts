/** What may be set of the recovery under test. Times in ms. */
export interface TxsyncSettings {
  readonly lease_ms: number;
  readonly heartbeat_ms: number;
  readonly epoch_ms: number;
  readonly durability: "host" | "process";
  readonly log_sync: "memory" | "disk";
  readonly find: "auto" | "sure";
}

export const DEFAULT_TXSYNC: TxsyncSettings = {
  lease_ms: 500,
  heartbeat_ms: 100,
  epoch_ms: 100,
  durability: "process",
  log_sync: "memory",
  find: "auto",
};
