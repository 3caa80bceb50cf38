import { mix } from "./rule.ts";
import type { StatusPage } from "./status-page.ts";

const ENTRY_BYTES = 16;

/** An entry of the ledger: what was appended, by whom, under which number of theirs. */
export interface LedgerEntry {
  readonly index: number;
  readonly value: number;
  readonly client: number;
  readonly client_seq: number;
}

/** The word that ties an entry to its place (fixtures/guests/integrity/ledger.c, check_of). */
export function ledgerCheck(index: number, value: number, client: number, client_seq: number): number {
  return mix((mix((mix((mix(index + 1) ^ value) >>> 0) ^ client) >>> 0) ^ client_seq) >>> 0);
}

/**
 * Reads the ledger out of a RAM image (which must reach to the ledger's end). An entry counts from the instant at which the
 * length covers it; one that is being written behind the end is nobody's. Entries whose checksum does not hold are
 * named in `bad` and left in the list as they are.
 */
export function readLedger(
  ram: Uint8Array,
  status: StatusPage,
): { readonly entries: readonly LedgerEntry[]; readonly bad: readonly string[] } {
  const entries: LedgerEntry[] = [];
  const bad: string[] = [];
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  for (let index = 0; index < status.ledger_length; index++) {
    const at = status.ledger_address + index * ENTRY_BYTES;
    if (at + ENTRY_BYTES > ram.byteLength) {
      bad.push(`ledger entry ${index} lies behind the end of the RAM image`);
      break;
    }
    const value = view.getUint32(at, true);
    const client = view.getUint32(at + 4, true);
    const client_seq = view.getUint32(at + 8, true);
    entries.push({ index, value, client, client_seq });
    if (view.getUint32(at + 12, true) !== ledgerCheck(index, value, client, client_seq)) {
      bad.push(
        `ledger entry ${index} (value ${value}, client ${client}, number ${client_seq}): checksum does not hold`,
      );
    }
  }
  return { entries, bad };
}
