/** How agents talk: frames, authentication, messages. */
export { crc32c } from "./crc32c.ts";
export {
  type Frame,
  FrameDecoder,
  FrameEncoder,
  type FrameType,
  LENGTH_MAX,
  WIRE_VERSION,
  WireError,
} from "./frame.ts";
export { Handshake, type HandshakeOptions, SECRET_BYTES, type Session } from "./handshake.ts";
export { decodeMessage, encodeMessage } from "./message.ts";
export { Peers, type PeersOptions } from "./peers.ts";
