import { PAGE_BYTES } from "../../base/page.ts";
import { ByteWindow, NEED_MORE } from "./byte-window.ts";
import {
  BOUNDS,
  COMMAND,
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

type Place = "header" | "top" | "ram-setup" | "ram" | "footer" | "after-eof";

/** How much data a command carries, null for any length (QEMU: migration/savevm.c, mig_cmd_args). */
const COMMAND_BYTES: ReadonlyMap<number, number | null> = new Map([
  [COMMAND.openReturnPath, 0],
  [COMMAND.ping, 4],
  [COMMAND.postcopyAdvise, null],
  [COMMAND.postcopyListen, 0],
  [COMMAND.postcopyRun, 0],
  [COMMAND.ramDiscard, null],
  [COMMAND.packaged, 4],
  [COMMAND.enableColo, 0],
  [COMMAND.postcopyResume, 0],
  [COMMAND.receivedBitmap, null],
  [COMMAND.switchoverStart, 0],
]);
const KNOWN_FLAGS = RAM_FLAG.zero | RAM_FLAG.setup | RAM_FLAG.page | RAM_FLAG.endOfPart | RAM_FLAG.sameBlock;
const OBJECT_BEGINS = "{".charCodeAt(0);
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
  /** Whether what stands before was read by somebody else. */
  readonly #joined: boolean;
  #ramId: number | null = null;
  #section = 0;
  /** Of a device's body, so many bytes are known to hold no end. */
  #searched = 0;
  /** Device sections that were read: none comes twice. */
  readonly #sections = new Set<number>();
  #ended = false;
  #block: string | null = null;
  #blocks: readonly StreamBlock[] = [];
  #failed: StreamError | null = null;

  /** @param from `header` for a whole stream, `top` for what follows a recovery, or lies in a package */
  constructor(onRecord: (record: StreamRecord) => void, from: "header" | "top" = "header") {
    this.#onRecord = onRecord;
    this.#place = from;
    this.#joined = from === "top";
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
    this.#records();
  }

  #records(): void {
    while (this.#window.ready(this.#ended)) {
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

  /**
   * The stream ended. What could only be told from what follows is told now: a device's section before a bare end mark.
   * @throws StreamError when it ended within a record.
   */
  end(): void {
    if (this.#failed !== null) throw this.#failed;
    this.#ended = true;
    this.#records();
    if (this.#window.held > 0) this.#fail("it ends in the middle of a record");
  }

  #fail(what: string): never {
    throw new StreamError(what, this.#window.offset);
  }

  #read(): object {
    switch (this.#place) {
      case "header":
        return this.#header();
      case "ram-setup":
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
        if (this.#joined) this.#ramId ??= id;
        if (id !== this.#ramId) this.#fail(`a part of section ${id}, which has not begun`);
        this.#enterRam(id, "ram");
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
    const belong = COMMAND_BYTES.get(command);
    if (belong === undefined) this.#fail(`unknown command ${command}`);
    const bytes = window.u16();
    if (belong !== null && bytes !== belong) this.#fail(`command ${command} with ${bytes} bytes instead of ${belong}`);
    const data = window.take(bytes);
    if (command !== COMMAND.packaged) return { kind: "command", command, data };
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
      if (this.#ramId !== null) this.#fail("a second RAM section");
      this.#ramId = id;
      this.#enterRam(id, "ram-setup");
      return { kind: "ram-section", id, part: "start" };
    }
    if (!full) this.#fail(`a live section ${JSON.stringify(name)}, which this reader does not know`);
    if (id === this.#ramId || this.#sections.has(id)) this.#fail(`a second section ${id}`);
    const body = this.#deviceBody(id);
    this.#sections.add(id);
    this.#section = id;
    this.#place = "footer";
    return { kind: "section", id, name, instance, version, body };
  }

  /**
   * A device's section has no length. Its end is the footer with its own number, behind which the next record begins;
   * the body may hold the same bytes by chance (section 0 before a field of zeros, say), so what follows is looked at too.
   */
  #deviceBody(id: number): Buffer {
    const window = this.#window;
    const mark = Buffer.from([RECORD.footer, id >>> 24, (id >>> 16) & 255, (id >>> 8) & 255, id & 255]);
    const ahead = window.ahead();
    for (let at = ahead.indexOf(mark, this.#searched); at >= 0; at = ahead.indexOf(mark, at + 1)) {
      const begins = this.#begins(ahead.subarray(at + mark.length), id);
      if (begins === true) {
        this.#searched = 0;
        return window.take(at);
      }
      this.#searched = begins === false ? at + 1 : at;
      if (begins !== false) window.need(at + mark.length + begins);
    }
    this.#searched = Math.max(this.#searched, ahead.length - mark.length + 1);
    if (ahead.length > BOUNDS.deviceSection) this.#fail(`a device section longer than ${BOUNDS.deviceSection} bytes`);
    window.need(ahead.length + 1);
    return this.#fail("unreachable");
  }

  /**
   * Whether a record may begin with these bytes, behind device section `id`; a number when so many bytes have to be
   * there to tell. Never asks for more than what the shortest such record has, but for the end mark.
   */
  #begins(bytes: Buffer, id: number): boolean | number {
    if (bytes.length < 1) return 1;
    switch (bytes[0]) {
      case RECORD.eof: {
        // Behind it is nothing, or a description: empty, or an object.
        if (bytes.length < 2) return this.#ended || 2;
        if (bytes[1] !== RECORD.description) return false;
        if (bytes.length < 6) return 6;
        const length = bytes.readUInt32BE(2);
        if (length === 0) return true;
        return length <= BOUNDS.description && (bytes.length < 7 ? 7 : bytes[6] === OBJECT_BEGINS);
      }
      case RECORD.command: {
        if (bytes.length < 5) return 5;
        const belong = COMMAND_BYTES.get(bytes.readUInt16BE(1));
        return belong === null || belong === bytes.readUInt16BE(3);
      }
      case RECORD.sectionStart:
      case RECORD.sectionFull: {
        const length = bytes[5];
        if (length === undefined) return 6;
        if (bytes.length < 6 + length) return 6 + length;
        const next = bytes.readUInt32BE(1);
        const name = bytes.toString("latin1", 6, 6 + length);
        return next !== id && !this.#sections.has(next) && /^[ -~]+$/.test(name);
      }
      case RECORD.sectionPart:
      case RECORD.sectionEnd:
        if (bytes.length < 5) return 5;
        return bytes.readUInt32BE(1) === this.#ramId;
      default:
        return false;
    }
  }

  #enterRam(id: number, place: "ram" | "ram-setup"): void {
    this.#section = id;
    this.#place = place;
  }

  #ram(): object {
    const window = this.#window;
    const word = window.u64();
    const flags = Number(word & FLAG_BITS);
    const offset = Number(word & ~FLAG_BITS);
    if ((flags & ~KNOWN_FLAGS) !== 0) this.#fail(`unknown RAM flags 0x${flags.toString(16)}`);
    if (!Number.isSafeInteger(offset)) this.#fail(`an offset of ${offset} bytes`);
    if ((this.#place === "ram-setup") !== (flags === RAM_FLAG.setup))
      this.#fail(`RAM flags 0x${flags.toString(16)} ${this.#place === "ram" ? "behind" : "instead of"} the RAM blocks`);
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
    this.#place = "ram";
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

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
