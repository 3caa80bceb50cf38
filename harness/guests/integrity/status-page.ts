import { crc32 } from "node:zlib";
import { UserError } from "../../base/errors.ts";
import { PAGE_BYTES } from "../../base/page.ts";
import type { Fill, Region } from "./rule.ts";

/** Physical address of the status page: fixed, so that it is found in any RAM image. */
export const STATUS_ADDRESS = 0x1ff000;
export const STATUS_VERSION = 2;
const MAGIC = "FERRYINT";
const CRC_AT = 0x3c;
const CPU_AT = 0x100;
const CPU_BYTES = 0x40;
const CPU_MAX = 16;
/** What of the page says anything; the rest is zeros. */
export const STATUS_BYTES = CPU_AT + CPU_MAX * CPU_BYTES;
const FILLS: readonly Fill[] = ["none", "head", "full"];

/** One virtual processor. `step_begun` is `step_done`, or one more while the page of that step is being rewritten. */
export interface CpuStatus {
  readonly region: Region;
  readonly step_begun: number;
  readonly step_done: number;
}

/** The first bad page that the guest itself found. */
export interface GuestFinding {
  readonly cpu: number;
  readonly page: number;
  readonly expected_step: number;
  readonly word: number;
  readonly expected: number;
  readonly found: number;
}

/** What the guest says about itself; layout in fixtures/guests/integrity/README.md. */
export interface StatusPage {
  readonly seed: number;
  /** Pages of working memory, all processors together; and those of them that are in a working set. */
  readonly pages: number;
  readonly working_pages: number;
  /** Pages above 4 GiB, which the guest cannot reach: the last ones of its RAM, all zeros for ever. */
  readonly pages_above: number;
  /** Physical address of the first of them. */
  readonly first_address: number;
  /** Steps per second that were asked for; 0 is as fast as it can. */
  readonly rate: number;
  readonly fill: Fill;
  /** Grows with every reset that kept RAM; 1 at first. */
  readonly boot_count: number;
  /** Differs from boot to boot. */
  readonly boot_id: number;
  readonly phase: "working" | "verifying" | "stopped";
  /** Guest time since boot. */
  readonly uptime_ms: number;
  readonly errors: number;
  readonly first_error?: GuestFinding;
  readonly ledger_address: number;
  readonly ledger_capacity: number;
  readonly ledger_length: number;
  readonly frames_in: number;
  readonly frames_out: number;
  readonly bytes_skipped: number;
  readonly log_lines_dropped: number;
  readonly verifies: number;
  readonly cpus: readonly CpuStatus[];
}

/**
 * Decodes the status page from its 4096 bytes (which begin at STATUS_ADDRESS of the RAM image).
 * @throws UserError when it is none, of another version, or contradicts itself: then nothing can be said of the rest.
 */
export function decodeStatusPage(bytes: Uint8Array): StatusPage {
  const where = `at 0x${STATUS_ADDRESS.toString(16)} of the guest's RAM`;
  if (bytes.length < PAGE_BYTES) {
    throw new UserError(`status page ${where}: ${bytes.length} bytes are there, ${PAGE_BYTES} are needed`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_BYTES);
  const word = (at: number): number => view.getUint32(at, true);
  const magic = Buffer.from(bytes.buffer, bytes.byteOffset, 8).toString("latin1");
  if (magic !== MAGIC) {
    const zero = bytes.subarray(0, PAGE_BYTES).every((byte) => byte === 0);
    const why = zero ? "it is all zeros (not arrived, or not booted)" : "its magic is missing (not booted, or damaged)";
    throw new UserError(`status page ${where}: ${why}`);
  }
  if (word(0x08) !== STATUS_VERSION) {
    throw new UserError(`status page ${where}: version ${word(0x08)}, this harness reads version ${STATUS_VERSION}`);
  }
  if (crc32(bytes.subarray(0, CRC_AT)) !== word(CRC_AT)) {
    throw new UserError(`status page ${where}: its checksum does not hold, so the page is damaged`);
  }
  const seed = word(0x0c);
  const cpu_count = word(0x10);
  const pages = word(0x14);
  const fill = FILLS[word(0x20)];
  const phase = ([undefined, "working", "verifying", "stopped"] as const)[word(0x40)];
  if (cpu_count < 1 || cpu_count > CPU_MAX) throw new UserError(`status page ${where}: ${cpu_count} processors`);
  if (fill === undefined) throw new UserError(`status page ${where}: unknown fill ${word(0x20)}`);
  if (phase === undefined) throw new UserError(`status page ${where}: unknown phase ${word(0x40)}`);
  const cpus: CpuStatus[] = [];
  let next_page = 0;
  for (let cpu = 0; cpu < cpu_count; cpu++) {
    const at = CPU_AT + cpu * CPU_BYTES;
    const region = { seed, cpu, first_page: word(at), pages: word(at + 4), working_pages: word(at + 16) };
    const [step_begun, step_done] = [word(at + 8), word(at + 12)];
    if (region.first_page !== next_page || region.pages < 1) {
      throw new UserError(
        `status page ${where}: processor ${cpu} has ${region.pages} pages from ${region.first_page}, ` +
          `expected some from ${next_page}`,
      );
    }
    if (region.working_pages < 1 || region.working_pages > region.pages) {
      throw new UserError(
        `status page ${where}: processor ${cpu} works on ${region.working_pages} of its ${region.pages} pages`,
      );
    }
    if (step_begun !== step_done && step_begun !== step_done + 1) {
      throw new UserError(
        `status page ${where}: processor ${cpu} has begun step ${step_begun} and done ${step_done}, ` +
          "which no order of its writes allows",
      );
    }
    next_page += region.pages;
    cpus.push({ region, step_begun, step_done });
  }
  if (next_page !== pages) throw new UserError(`status page ${where}: regions of ${next_page} pages, ${pages} in all`);
  const working_pages = word(0x34);
  const working_sum = cpus.reduce((sum, { region }) => sum + region.working_pages, 0);
  if (working_sum !== working_pages) {
    throw new UserError(`status page ${where}: working sets of ${working_sum} pages, ${working_pages} in all`);
  }
  const [ledger_capacity, ledger_length, errors] = [word(0x30), word(0x64), word(0x48)];
  if (ledger_length > ledger_capacity) {
    throw new UserError(`status page ${where}: ${ledger_length} ledger entries, but room for ${ledger_capacity}`);
  }
  return {
    seed,
    pages,
    working_pages,
    pages_above: word(0x38),
    first_address: word(0x18),
    rate: word(0x1c),
    fill,
    boot_count: word(0x24),
    boot_id: word(0x28),
    phase,
    uptime_ms: word(0x44),
    errors,
    ...(errors > 0 && {
      first_error: {
        cpu: word(0x4c),
        page: word(0x50),
        expected_step: word(0x54),
        word: word(0x58),
        expected: word(0x5c),
        found: word(0x60),
      },
    }),
    ledger_address: word(0x2c),
    ledger_capacity,
    ledger_length,
    frames_in: word(0x68),
    frames_out: word(0x6c),
    bytes_skipped: word(0x70),
    log_lines_dropped: word(0x74),
    verifies: word(0x78),
    cpus,
  };
}
