import { Transform, type TransformCallback } from "node:stream";

const HEADER_BYTES = 8;
const STDERR = 2;

/**
 * Takes standard output out of the engine's multiplexed stream (one header per piece: u8 stream, 3 bytes 0, be32
 * length; Docker Engine API, ContainerAttach) and hands standard error to `onError`. Unlike docker-modem's
 * demuxStream it waits for a slow reader, so that a file of any size passes in bounded memory.
 */
export class Demultiplexer extends Transform {
  readonly #onError: (text: string) => void;
  #header = Buffer.alloc(0);
  #stream = 0;
  #left_bytes = 0;

  constructor(onError: (text: string) => void) {
    super();
    this.#onError = onError;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#left_bytes === 0) {
        const missing = HEADER_BYTES - this.#header.length;
        this.#header = Buffer.concat([this.#header, rest.subarray(0, missing)]);
        rest = rest.subarray(missing);
        if (this.#header.length < HEADER_BYTES) break;
        this.#stream = this.#header.readUInt8(0);
        this.#left_bytes = this.#header.readUInt32BE(4);
        this.#header = Buffer.alloc(0);
        continue;
      }
      const piece = rest.subarray(0, this.#left_bytes);
      rest = rest.subarray(piece.length);
      this.#left_bytes -= piece.length;
      if (this.#stream === STDERR) this.#onError(piece.toString("utf8"));
      else this.push(piece);
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    const cut = this.#left_bytes > 0 || this.#header.length > 0;
    done(cut ? new Error("the engine's stream ended in the middle") : null);
  }
}
