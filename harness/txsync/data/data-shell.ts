import { PAGE_BYTES } from "../../base/page.ts";
import type { TimelineEventBody } from "../../base/timeline.ts";
import type { Role } from "../core/index.ts";
import type { Peers } from "../wire/index.ts";
import type { DataConfig, DataEvent } from "./protocol.ts";

/** Connections of the data plane: for what somebody waits for, and for all that is long. */
export type DataChannel = "urgent" | "bulk";
/** With the longest payload of each, bytes: a page and a note about it; a run of pages, a piece of a record, a long note. */
export const DATA_CHANNELS: Readonly<Record<DataChannel, number>> = { urgent: 64 * 1024, bulk: 2 * 2 ** 20 };

/** What the parts of the data plane share. */
export interface DataShell {
  readonly config: DataConfig;
  readonly peers: Pick<Peers<DataChannel>, "sendData" | "connection" | "drained" | "buffers">;
  /** For whoever watches. */
  readonly emit: (event: TimelineEventBody) => void;
  /** For the control plane. */
  readonly tell: (event: DataEvent) => void;
}

export function log(shell: DataShell, line: string): void {
  shell.emit({ kind: "log", stream: "agent", line });
}

/** A page and what stands around it. */
const SHORT_BYTES = PAGE_BYTES + 1024;

/**
 * Sends what the target asks, or what it is answered. A single page is what a vCPU waits for, so it goes past the pages
 * that come by themselves. It may therefore arrive before or after them: the base that the target gets is never
 * changed where the target still lacks it, and whichever comes first is right. Not for the escrow's copy, of which parts
 * are taken back.
 * @param onDone called when the memory of the pieces may be used again
 */
export function sendTargetPages(
  peers: DataShell["peers"],
  to: Role,
  frame: readonly Uint8Array[],
  onDone?: () => void,
): boolean {
  const bytes = frame.reduce((sum, piece) => sum + piece.length, 0);
  return peers.sendData(to, bytes <= SHORT_BYTES ? "urgent" : "bulk", frame, onDone);
}
