/** Longer than any frame that QEMU sends: its own limit (QEMU: include/net/net.h, NET_BUFSIZE). */
export const ETHERNET_FRAME_BYTES_MAX = 4096 + 65536;

/** A frame as QEMU's `-netdev stream` has it on the wire: u32 big-endian length, then the frame. */
export function encodeEthernet(frame: Uint8Array): Buffer {
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(frame.length);
  return Buffer.concat([head, frame]);
}

/** Cuts that stream into frames; keeps no more than one. */
export class EthernetCutter {
  #held: Buffer = Buffer.alloc(0);

  /** @throws RangeError where these are no frames: nothing that follows can be read either */
  push(bytes: Buffer): Buffer[] {
    const all = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const frames: Buffer[] = [];
    let at = 0;
    while (all.length - at >= 4) {
      const length = all.readUInt32BE(at);
      if (length < 1 || length > ETHERNET_FRAME_BYTES_MAX) throw new RangeError(`an Ethernet frame of ${length} bytes`);
      if (all.length - at - 4 < length) break;
      frames.push(Buffer.from(all.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    this.#held = Buffer.from(all.subarray(at));
    return frames;
  }
}
