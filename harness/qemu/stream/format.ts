/**
 * Words of QEMU's migration stream, 7.2 to 11.1 (migration/savevm.h, migration/savevm.c, migration/ram.c,
 * migration/migration.h). All numbers of the stream are big-endian.
 */
export const STREAM_MAGIC = 0x5145_564d;
export const STREAM_VERSION = 3;

/** First byte of everything on the stream's top level (QEMU_VM_*). */
export const RECORD = {
  eof: 0x00,
  sectionStart: 0x01,
  sectionPart: 0x02,
  sectionEnd: 0x03,
  sectionFull: 0x04,
  description: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

/** Flags in the low bits of a RAM record's offset (RAM_SAVE_FLAG_*). */
export const RAM_FLAG = {
  zero: 0x02,
  setup: 0x04,
  page: 0x08,
  endOfPart: 0x10,
  sameBlock: 0x20,
  /** 7.2 sends it at the end of a round where multifd is on; known so that it is named, never read over. */
  multifdFlush: 0x200,
} as const;

/** Commands (MIG_CMD_*). */
export const COMMAND = {
  openReturnPath: 1,
  ping: 2,
  postcopyAdvise: 3,
  postcopyListen: 4,
  postcopyRun: 5,
  ramDiscard: 6,
  packaged: 7,
  enableColo: 8,
  postcopyResume: 9,
  receivedBitmap: 10,
  switchoverStart: 11,
} as const;

/** Messages of the return path (MIG_RP_MSG_*). */
export const RETURN_MESSAGE = {
  shut: 1,
  pong: 2,
  requestPagesOfBlock: 3,
  requestPages: 4,
  receivedBitmap: 5,
  resumeAck: 6,
  switchoverAck: 7,
} as const;

export const RAM_SECTION = "ram";
export const RAM_SECTION_VERSION = 4;
/** Mark behind a received bitmap (migration/ram.c, RAMBLOCK_RECV_BITMAP_ENDING). */
export const BITMAP_END = 0x0123_4567_89ab_cdefn;

/** What a reader believes at most, bytes. QEMU's own bound of a package is 4 GiB; a device state is a few 100 KiB. */
export const BOUNDS = {
  packaged: 64 * 2 ** 20,
  description: 64 * 2 ** 20,
  configuration: 256,
  deviceSection: 64 * 2 ** 20,
  blocks: 4096,
  bitmap: 256 * 2 ** 20,
} as const;

/** The stream is not what QEMU writes. `offset` counts from the stream's first byte. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  readonly offset: number;

  constructor(what: string, offset: number) {
    super(`migration stream: ${what} at byte ${offset}`);
    this.offset = offset;
  }
}
