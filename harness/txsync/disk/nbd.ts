/**
 * What of the NBD protocol is spoken here: fixed newstyle, simple replies. Numbers big-endian. Reference: the NBD
 * project's doc/proto.md. No TLS, no structured replies: QEMU goes on without where they are not offered.
 */
export const NBD_MAGIC = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
export const REQUEST_MAGIC = 0x25609513;
export const REPLY_MAGIC = 0x67446698;

export const HANDSHAKE_FLAGS = { fixed_newstyle: 1, no_zeroes: 2 } as const;

export const OPTION = { export_name: 1, abort: 2, list: 3, info: 6, go: 7 } as const;
export const OPTION_REPLY = {
  ack: 1,
  server: 2,
  info: 3,
  unsupported: 0x80000001,
  invalid: 0x80000003,
  unknown: 0x80000006,
  shutdown: 0x80000007,
  too_big: 0x80000009,
} as const;
export const INFO = { export: 0, block_size: 3 } as const;

const EXPORT_FLAGS = { has_flags: 1, flush: 4, fua: 8, trim: 32, write_zeroes: 64, multi_conn: 256 } as const;
/** What every export here can do. */
export const OUR_EXPORT_FLAGS = Object.values(EXPORT_FLAGS).reduce((all, flag) => all | flag, 0);

export const COMMAND = { read: 0, write: 1, disconnect: 2, flush: 3, trim: 4, write_zeroes: 6 } as const;
export const COMMAND_FLAGS = { fua: 1, no_hole: 2 } as const;

export const ERROR = { not_permitted: 1, io: 5, invalid: 22, no_space: 28, shutdown: 108 } as const;

/** The most that one request reads or writes; told to the client, which splits what is longer (NBD_INFO_BLOCK_SIZE). */
export const REQUEST_BYTES_MAX = 1024 * 1024;
/** The longest option that is read: a name has at most 4096 bytes. */
export const OPTION_BYTES_MAX = 8192;
export const NAME_BYTES_MAX = 4096;
export const REQUEST_BYTES = 28;
export const REPLY_BYTES = 16;

export interface Request {
  readonly flags: number;
  readonly command: number;
  /** The client's name for it, repeated in the reply. */
  readonly handle: bigint;
  readonly offset: number;
  readonly length: number;
}

/** The peer says what the protocol does not have; nothing that follows can be understood. */
export class NbdError extends Error {
  override readonly name = "NbdError";
}

/** @throws NbdError when these bytes are no request. */
export function decodeRequest(bytes: Buffer): Request {
  if (bytes.readUInt32BE(0) !== REQUEST_MAGIC) throw new NbdError("a request without the magic number");
  const offset = bytes.readBigUInt64BE(16);
  return {
    flags: bytes.readUInt16BE(4),
    command: bytes.readUInt16BE(6),
    handle: bytes.readBigUInt64BE(8),
    // What is larger lies behind the end of every disk.
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(offset),
    length: bytes.readUInt32BE(24),
  };
}

export function encodeRequest({ flags, command, handle, offset, length }: Request): Buffer {
  const bytes = Buffer.alloc(REQUEST_BYTES);
  bytes.writeUInt32BE(REQUEST_MAGIC, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(handle, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

export function encodeReply(handle: bigint, error: number): Buffer {
  const bytes = Buffer.alloc(REPLY_BYTES);
  bytes.writeUInt32BE(REPLY_MAGIC, 0);
  bytes.writeUInt32BE(error, 4);
  bytes.writeBigUInt64BE(handle, 8);
  return bytes;
}

export function encodeGreeting(): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.writeBigUInt64BE(NBD_MAGIC, 0);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 8);
  bytes.writeUInt16BE(HANDSHAKE_FLAGS.fixed_newstyle | HANDSHAKE_FLAGS.no_zeroes, 16);
  return bytes;
}

export function encodeOptionReply(option: number, reply: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(20);
  head.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0);
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(reply, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}

/** What NBD_OPT_GO and NBD_OPT_INFO tell of an export. */
export function encodeExportInfo(size_bytes: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16BE(INFO.export, 0);
  bytes.writeBigUInt64BE(BigInt(size_bytes), 2);
  bytes.writeUInt16BE(OUR_EXPORT_FLAGS, 10);
  return bytes;
}

export function encodeBlockSizes(): Buffer {
  const bytes = Buffer.alloc(14);
  bytes.writeUInt16BE(INFO.block_size, 0);
  bytes.writeUInt32BE(1, 2);
  bytes.writeUInt32BE(4096, 6);
  bytes.writeUInt32BE(REQUEST_BYTES_MAX, 10);
  return bytes;
}

/** The answer to the old NBD_OPT_EXPORT_NAME, which has no other. */
export function encodeExportName(size_bytes: number, zeroes: boolean): Buffer {
  const bytes = Buffer.alloc(zeroes ? 134 : 10);
  bytes.writeBigUInt64BE(BigInt(size_bytes), 0);
  bytes.writeUInt16BE(OUR_EXPORT_FLAGS, 8);
  return bytes;
}
