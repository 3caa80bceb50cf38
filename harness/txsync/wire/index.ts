/** How agents talk: frames, authentication, messages. */
export { BufferPool } from "./buffer-pool.ts";
export { channelHello, readChannel } from "./channel.ts";
export {
  FRAMES_MAX,
  type Frame,
  FrameDecoder,
  FrameEncoder,
  type FrameType,
  LENGTH_MAX,
  WIRE_VERSION,
  WireError,
} from "./frame.ts";
export { Handshake, type HandshakeOptions, SECRET_BYTES, type Session, type Side } from "./handshake.ts";
export { LogLimit } from "./log-limit.ts";
export { BODY_MAX, decodeMessage, encodeMessage } from "./message.ts";
export { Peers, type PeersOptions } from "./peers.ts";
