import { type Frame, WireError } from "./frame.ts";

/** The first frame on a connection, after the handshake: what it is for. */
export function channelHello(channel: string): Buffer {
  return Buffer.from(channel);
}

/** @throws WireError when the frame names none of these channels. */
export function readChannel<Channel extends string>(frame: Frame, channels: readonly Channel[]): Channel {
  if (frame.type !== "data") throw new WireError(`a ${frame.type} frame where the channel should be named`, 0);
  const channel = channels.find((known) => frame.payload.equals(channelHello(known)));
  if (channel === undefined) throw new WireError("a channel that nobody knows", 0);
  return channel;
}
