import { ByteWindow, NEED_MORE } from "./byte-window.ts";
import {
  BOUNDS,
  COMMAND,
  PAGE_BYTES,
  RAM_FLAG,
  RAM_SECTION,
  RAM_SECTION_VERSION,
  RECORD,
  STREAM_MAGIC,
  STREAM_VERSION,
  StreamError,
} from "./format.ts";

export interface StreamBlock {
  readonly name: string;
  readonly bytes: number;
}

/** One record of the stream. `raw` are its bytes as they came, a view that is good until the next `push`. */
export type StreamRecord = { readonly raw: Buffer } & (
  | { readonly kind: "header" }
  | { readonly kind: "configuration"; readonly machine: string }
  | { readonly kind: "command"; readonly command: number; readonly data: Buffer }
  /** `content`: listen, device sections, run. */
  | { readonly kind: "packaged"; readonly content: Buffer }
  /** The beginning of a RAM section; its setup and pages follow. */
  | { readonly kind: "ram-section"; readonly id: number; readonly part: "start" | "part" | "end" }
  | { readonly kind: "ram-setup"; readonly blocks: readonly StreamBlock[] }
  /** A page; `bytes` is null for a page of which every byte is `fill`. `offset` is in bytes. */
  | {
      readonly kind: "ram-page";
      readonly block: string;
      readonly offset: number;
      readonly fill: number;
      readonly bytes: Buffer | null;
    }
  | { readonly kind: "ram-end-of-part" }
  /** A device's section, up to its footer. */
  | {
      readonly kind: "section";
      readonly id: number;
      readonly name: string;
      readonly instance: number;
      readonly version: number;
      readonly body: Buffer;
    }
  | { readonly kind: "footer"; readonly id: number }
  | { readonly kind: "eof" }
  | { readonly kind: "description"; readonly json: string }
);

type Place = "header" | "top" | "ram" | "footer" | "after-eof";

const KNOWN_COMMANDS: readonly number[] = Object.values(COMMAND);
const KNOWN_FLAGS = RAM_FLAG.zero | RAM_FLAG.setup | RAM_FLAG.page | RAM_FLAG.endOfPart | RAM_FLAG.sameBlock;
const FLAG_BITS = BigInt(PAGE_BYTES - 1);

/**
 * Reads the forward stream of a migration, in pieces of any size (QEMU: migration/savevm.c qemu_loadvm_state_main,
 * migration/ram.c ram_load_precopy and ram_load_postcopy). What it does not know is an error with its offset, never
 * skipped. Holds at most one record.
 */
export class StreamReader {
  readonly #window = new ByteWindow();
  readonly #onRecord: (record: StreamRecord) => void;
  #place: Place;
  #ramId: number | null = null;
  #section = 0;
  #block: string | null = null;
  #blocks: readonly StreamBlock[] = [];
  #failed: StreamError | null = null;

  /** @param from `header` for a whole stream, `top` for what follows a recovery, or lies in a package */
  constructor(onRecord: (record: StreamRecord) => void, from: "header" | "top" = "header") {
    this.#onRecord = onRecord;
    this.#place = from;
  }

  /** Bytes that belong to no whole record yet. */
  get held_bytes(): number {
    return this.#window.held;
  }

  /** The RAM section's number, once the stream has told it; 2 on 7.2, 1 on 11.1, and another with other devices. */
  get ram_section_id(): number | null {
    return this.#ramId;
  }

  /** All RAM blocks with the length in use, as the stream tells them. */
  get blocks(): readonly StreamBlock[] {
    return this.#blocks;
  }

  /** @throws StreamError, from then on for ever. */
  push(chunk: Buffer): void {
    if (this.#failed !== null) throw this.#failed;
    this.#window.push(chunk);
    while (this.#window.ready()) {
      try {
        const record = this.#read();
        const whole = { ...record, raw: this.#window.raw() } as StreamRecord;
        this.#window.accept();
        this.#onRecord(whole);
      } catch (error) {
        if (error === NEED_MORE) return;
        if (error instanceof StreamError) this.#failed = error;
        throw error;
      }
    }
  }

  /** The stream ended. @throws StreamError when it ended within a record. */
  end(): void {
    if (this.#failed !== null) throw this.#failed;
    if (this.#window.held > 0) this.#fail("it ends in the middle of a record");
  }

  #fail(what: string): never {
    throw new StreamError(what, this.#window.offset);
  }

  #read(): object {
    switch (this.#place) {
      case "header":
        return this.#header();
      case "ram":
        return this.#ram();
      case "footer":
        return this.#footer();
      case "top":
      case "after-eof":
        return this.#top();
    }
  }

  #header(): object {
    if (this.#window.u32() !== STREAM_MAGIC) this.#fail("this is no migration stream");
    const version = this.#window.u32();
    if (version !== STREAM_VERSION) this.#fail(`version ${version} instead of ${STREAM_VERSION}`);
    this.#place = "top";
    return { kind: "header" };
  }

  #top(): object {
    const window = this.#window;
    const type = window.u8();
    if (this.#place === "after-eof" && type !== RECORD.description) this.#fail(`record 0x${hex(type)} after the end`);
    switch (type) {
      case RECORD.configuration: {
        const length = window.u32();
        if (length > BOUNDS.configuration) this.#fail(`a machine name of ${length} bytes`);
        return { kind: "configuration", machine: window.take(length).toString("latin1") };
      }
      case RECORD.command:
        return this.#command();
      case RECORD.sectionStart:
      case RECORD.sectionFull:
        return this.#sectionBegins(type === RECORD.sectionFull);
      case RECORD.sectionPart:
      case RECORD.sectionEnd: {
        const id = window.u32();
        // After a recovery the first part tells the number.
        this.#ramId ??= id;
        if (id !== this.#ramId) this.#fail(`a part of section ${id}, which has not begun`);
        this.#enterRam(id);
        return { kind: "ram-section", id, part: type === RECORD.sectionPart ? "part" : "end" };
      }
      case RECORD.eof:
        this.#place = "after-eof";
        return { kind: "eof" };
      case RECORD.description: {
        const length = window.u32();
        if (length > BOUNDS.description) this.#fail(`a description of ${length} bytes`);
        return { kind: "description", json: window.take(length).toString("utf8") };
      }
      default:
        return this.#fail(`unknown record 0x${hex(type)}`);
    }
  }

  #command(): object {
    const window = this.#window;
    const command = window.u16();
    if (!KNOWN_COMMANDS.includes(command)) this.#fail(`unknown command ${command}`);
    const data = window.take(window.u16());
    if (command !== COMMAND.packaged) return { kind: "command", command, data };
    if (data.length !== 4) this.#fail(`a package whose length has ${data.length} bytes`);
    const length = data.readUInt32BE(0);
    if (length > BOUNDS.packaged) this.#fail(`a package of ${length} bytes`);
    return { kind: "packaged", content: window.take(length) };
  }

  #sectionBegins(full: boolean): object {
    const window = this.#window;
    const id = window.u32();
    const name = window.counted();
    const instance = window.u32();
    const version = window.u32();
    if (name === RAM_SECTION && !full) {
      if (version !== RAM_SECTION_VERSION) this.#fail(`a RAM section of version ${version}`);
      this.#ramId = id;
      this.#enterRam(id);
      return { kind: "ram-section", id, part: "start" };
    }
    if (!full) this.#fail(`a live section "${name}", which this reader does not know`);
    const body = this.#deviceBody(id);
    this.#section = id;
    this.#place = "footer";
    return { kind: "section", id, name, instance, version, body };
  }

  /**
   * A device's section has no length. Its end is the footer with its own number, behind which the next record begins;
   * the body may hold the same bytes by chance, so what follows is looked at too.
   */
  #deviceBody(id: number): Buffer {
    const window = this.#window;
    const mark = Buffer.from([RECORD.footer, id >>> 24, (id >>> 16) & 255, (id >>> 8) & 255, id & 255]);
    const ahead = window.ahead();
    for (let at = ahead.indexOf(mark); at >= 0; at = ahead.indexOf(mark, at + 1)) {
      const follows = ahead.subarray(at + mark.length, at + mark.length + 8);
      if (follows.length < 1) window.need(at + mark.length + 1);
      if (plausible(follows, id)) return window.take(at);
    }
    if (ahead.length > BOUNDS.deviceSection) this.#fail(`a device section longer than ${BOUNDS.deviceSection} bytes`);
    window.need(ahead.length + 1);
    return this.#fail("unreachable");
  }

  #enterRam(id: number): void {
    this.#section = id;
    this.#place = "ram";
  }

  #ram(): object {
    const window = this.#window;
    const word = window.u64();
    const flags = Number(word & FLAG_BITS);
    const offset = Number(word & ~FLAG_BITS);
    if ((flags & ~KNOWN_FLAGS) !== 0) this.#fail(`unknown RAM flags 0x${flags.toString(16)}`);
    switch (flags & ~RAM_FLAG.sameBlock) {
      case RAM_FLAG.setup:
        return this.#setup(offset);
      case RAM_FLAG.endOfPart:
        if (offset !== 0 || flags !== RAM_FLAG.endOfPart) this.#fail("an end of a part with an offset");
        this.#place = "footer";
        return { kind: "ram-end-of-part" };
      case RAM_FLAG.zero:
      case RAM_FLAG.page: {
        const block = (flags & RAM_FLAG.sameBlock) !== 0 ? this.#block : window.counted();
        if (block === null) return this.#fail("a page of the same block as none before");
        const known =
          this.#blocks.length === 0 || this.#blocks.some(({ name, bytes }) => name === block && offset < bytes);
        if (!known) this.#fail(`a page at ${offset} of ${JSON.stringify(block)}, which is nowhere`);
        if ((flags & RAM_FLAG.zero) !== 0) {
          const fill = window.u8();
          this.#block = block;
          return { kind: "ram-page", block, offset, fill, bytes: null };
        }
        const bytes = window.take(PAGE_BYTES);
        this.#block = block;
        return { kind: "ram-page", block, offset, fill: 0, bytes };
      }
      default:
        return this.#fail(`RAM flags 0x${flags.toString(16)} that do not go together`);
    }
  }

  #setup(total: number): object {
    const window = this.#window;
    const blocks: StreamBlock[] = [];
    let left = total;
    while (left > 0) {
      if (blocks.length >= BOUNDS.blocks) this.#fail(`more than ${BOUNDS.blocks} RAM blocks`);
      const name = window.counted();
      const bytes = Number(window.u64());
      if (bytes === 0 || bytes > left || bytes % PAGE_BYTES !== 0)
        this.#fail(`RAM block ${JSON.stringify(name)} of ${bytes} bytes`);
      blocks.push({ name, bytes });
      left -= bytes;
    }
    this.#blocks = blocks;
    return { kind: "ram-setup", blocks };
  }

  #footer(): object {
    const window = this.#window;
    const type = window.u8();
    if (type !== RECORD.footer)
      this.#fail(`record 0x${hex(type)} where the footer of section ${this.#section} belongs`);
    const id = window.u32();
    if (id !== this.#section) this.#fail(`footer of section ${id} behind section ${this.#section}`);
    this.#place = "top";
    return { kind: "footer", id };
  }
}

/** Whether a record may begin with these bytes, behind section `id`. */
function plausible(follows: Buffer, id: number): boolean {
  const type = follows[0];
  if (type === RECORD.eof || type === RECORD.description) return true;
  if (type === RECORD.command) return follows.length < 3 || KNOWN_COMMANDS.includes(follows.readUInt16BE(1));
  if (type !== RECORD.sectionFull && type !== RECORD.sectionStart)
    return type === RECORD.sectionEnd || type === RECORD.sectionPart;
  return follows.length < 5 || follows.readUInt32BE(1) !== id;
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
