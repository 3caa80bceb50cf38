import type { OutputSource } from "../device/output-source.ts";
import { SERIAL_LINES, SerialLine } from "../device/serial-line.ts";
import type { StatePart } from "../device/state-part.ts";

/** The devices of the VM at which the agent stands: a new kind is a file in harness/txsync/device and a line here. */
export interface Devices {
  /** What the VM tells the world, by channel. */
  readonly outputs: readonly OutputSource[];
  /** What a transaction has beside device state and RAM. */
  readonly parts: readonly StatePart[];
}

export function makeDevices(): Devices {
  return { outputs: SERIAL_LINES.map((name, channel) => new SerialLine(channel, name)), parts: [] };
}
