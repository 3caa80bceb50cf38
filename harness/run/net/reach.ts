import type { Socket } from "node:net";
import type { HostRole } from "../../base/timeline.ts";

/** The VM as somebody outside reaches it by its network card, wherever it is. */
export interface Reach {
  /**
   * A connection to a TCP port of the VM, over the run's network. It is the caller's.
   * @throws Error where the VM does not take it within the time (default 2,000 ms)
   */
  dial(port: number, timeout_ms?: number): Promise<Socket>;
  /** The host from which the VM's last frame came. */
  readonly from: HostRole;
}
