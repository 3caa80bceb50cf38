import { PAGE_BYTES } from "../../base/page.ts";
import type { Role } from "../core/index.ts";
import type { Peers } from "./peers.ts";

/** A page and what stands around it. */
const SHORT_BYTES = PAGE_BYTES + 1024;

/**
 * Sends what the target asks, or what it is answered. A single page is what a vCPU waits for, so it goes past the pages
 * that come by themselves. It may therefore arrive before or after them: the base that the target gets is never
 * changed, and whichever comes first is right. Not for the escrow's copy, of which parts are taken back.
 */
export function sendTargetPages(peers: Pick<Peers, "sendData">, to: Role, frame: readonly Uint8Array[]): boolean {
  const bytes = frame.reduce((sum, piece) => sum + piece.length, 0);
  return peers.sendData(to, frame, bytes <= SHORT_BYTES ? "words" : "bulk");
}
