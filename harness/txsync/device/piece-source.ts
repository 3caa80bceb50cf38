import { transactionNumber } from "../core/index.ts";
import { type OverlayRange, piecesOf } from "../disk/index.ts";
import type { PartPiece } from "../log/index.ts";

/**
 * Pieces of a part of the VM's state, as plain data: as they are, or where they lie. The control plane says which, the data
 * plane reads them.
 */
export type PieceSource = PartPiece | { readonly name: string; readonly floor: number; readonly overlay: OverlayRange };

/** One at a time: what lies on the host's tmpfs is read when it is asked for. */
export function* partPieces(sources: readonly PieceSource[]): Generator<PartPiece> {
  for (const source of sources) {
    if (!("overlay" in source)) {
      yield source;
      continue;
    }
    const { name, floor, overlay } = source;
    for (const { n, bytes } of piecesOf(overlay)) yield { name, floor, n: transactionNumber(n), bytes };
  }
}
