import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { ETHERNET_FRAME_BYTES_MAX, EthernetCutter, encodeEthernet } from "./ethernet-frames.ts";
import type { OutputSink, OutputSource } from "./output-source.ts";

/** The card's socket in QEMU's folder: QEMU listens, whoever has the VM's output dials, and dials again. */
export const CARD_NAME = "net0";
export const CARD_CHANNEL = 2;

/** Between two attempts to connect: twice as long each time, for a QEMU that is gone is not told of here. */
const DIAL_AGAIN_MS = { first: 10, most: 500 } as const;
/** Frames that came in and may have to be given again: no more than this is kept, the oldest go first. */
const KEPT_BYTES_MAX = 4 * 2 ** 20;
/** So much may wait for a guest that does not take it; what comes beyond is lost, as on any network. */
const WAITING_BYTES_MAX = 4 * 2 ** 20;
/**
 * QEMU's socket takes no more once what lies in it, unread, counts as much as its buffer is large: a third of Linux's
 * default for that (socket(7), wmem_default). What lies in it at any time is read in two turns of the event loop.
 */
const ROOM_BYTES = 64 * 1024;
/** What a frame counts there at most: its bytes, in memory that comes in powers of two, and what the kernel has of it. */
const countedBytes = (bytes: number): number => 2 * bytes + 1_280;
/** Poll phases of the event loop in a row in which something came, while the guest stands still: it has one ring. */
const DRAIN_ROUNDS_MAX = 10_000;
/** Of frames that are forgotten so many at least are taken out of the list in one go. */
const FORGOTTEN_MIN = 1_024;

interface Inbound {
  readonly at_ms: number;
  readonly bytes: Uint8Array;
}

/**
 * A network card: `-netdev stream`, of which this is the peer. It reads at all times and never holds back by not reading:
 * a socket that is full makes `stop` lose a frame, and a stopped VM go on sending (harness/qemu/FACTS.md, "Network").
 *
 * What comes in is given to the VM at once where it runs here, and kept for a while on every host that it may be restored
 * on, for a saved state has nothing of what still lay in QEMU's socket, or came after it: a restored VM is given again what
 * came since the transaction that it is made of. That may be more than it missed, never less: a network may double.
 */
export class NetworkCard implements OutputSource {
  readonly channel = CARD_CHANNEL;
  readonly name = CARD_NAME;
  readonly may_lose = true;
  readonly #there: () => boolean;
  readonly #takesIn: () => boolean;
  readonly #now_ms: () => number;
  readonly #say: (line: string) => void;
  #folder: string | undefined;
  #sink: OutputSink | undefined;
  #socket: Socket | undefined;
  #connected = false;
  #again_ms: number = DIAL_AGAIN_MS.first;
  #received = 0;
  /** What came in this turn of the event loop and in the last one in which anything came, as the kernel counts it. */
  #turn_bytes = 0;
  #last_turn_bytes = 0;
  /** QEMU may have found its socket full: since the VM was about to stand still, and since the time before. */
  #full = false;
  #was_full = false;
  #lost = 0;
  /** In the order in which they came: of short ones there are many ten thousand, so none is looked at that need not be. */
  readonly #inbound: (Inbound | undefined)[] = [];
  /** Where in it the oldest one is that is kept, and the first one that the QEMU in this folder has not been given. */
  #oldest = 0;
  #next = 0;
  #given_to: string | undefined;
  #inbound_bytes = 0;
  #floor_ms = Number.NEGATIVE_INFINITY;

  constructor(what: {
    /** Whether the VM has a card at all. */
    readonly there: () => boolean;
    /** Whether the VM that is followed may be given frames now: it runs, and its QEMU's main loop waits for no page. */
    readonly takesIn: () => boolean;
    readonly now_ms?: () => number;
    /** Told of what was lost: the first, and whenever it is twice as much. */
    readonly say: (line: string) => void;
  }) {
    this.#there = what.there;
    this.#takesIn = what.takesIn;
    this.#say = what.say;
    this.#now_ms = what.now_ms ?? (() => performance.now());
  }

  get drains(): boolean {
    return this.#connected;
  }

  follow(folder: string, _end: number, sink: OutputSink): void {
    this.unfollow();
    if (!this.#there()) return;
    if (folder !== this.#given_to) this.#next = this.#oldest;
    this.#given_to = folder;
    this.#folder = folder;
    this.#sink = sink;
    this.#again_ms = DIAL_AGAIN_MS.first;
    this.#dial();
  }

  unfollow(): void {
    this.#folder = undefined;
    this.#connected = false;
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  /** What was sent while nobody was connected is lost: there is nothing that could be read again. */
  endIn(): number {
    return 0;
  }

  /** Frames are handed over as they come. */
  look(): void {}

  stopping(): void {
    // Until its main loop has gone round it may not know that there is room again.
    this.#was_full = this.#full;
    this.#full = false;
  }

  get lagged(): boolean {
    return this.#full || this.#was_full;
  }

  /**
   * Settles after a whole poll phase of the event loop in which nothing came: then nothing lies in the socket. What QEMU had
   * written before is there by now: both ends are on this host.
   */
  async settle(): Promise<void> {
    for (let round = 0; round < DRAIN_ROUNDS_MAX; round += 1) {
      const before = this.#received;
      // Between two check phases lies one poll phase, which does not block while the second one is waited for.
      await turn();
      await turn();
      if (this.#received === before) return;
    }
    throw new Error("the guest, which stands still, goes on sending");
  }

  /** A frame from outside. Every agent that may have the VM one day gets it. One that is too long would end QEMU's connection. */
  type(bytes: Uint8Array): void {
    if (bytes.length === 0 || bytes.length > ETHERNET_FRAME_BYTES_MAX) return;
    this.#inbound.push({ at_ms: this.#now_ms(), bytes });
    this.#inbound_bytes += bytes.length;
    while (this.#inbound_bytes > KEPT_BYTES_MAX) this.#forgetOldest();
    this.give();
  }

  /** Gives the VM what it has not been given yet, where it takes anything in. Call it when that may have changed. */
  give(): void {
    const socket = this.#socket;
    if (this.#next === this.#inbound.length) return;
    if (!this.#connected || socket === undefined || this.#folder === undefined || !this.#takesIn()) return;
    for (; this.#next < this.#inbound.length; this.#next += 1) {
      if (socket.writableLength > WAITING_BYTES_MAX) return;
      const frame = this.#inbound[this.#next];
      if (frame !== undefined) socket.write(encodeEthernet(frame.bytes));
    }
  }

  /** Whatever came before is in every state that the VM may be restored from. */
  settled(before_ms: number): void {
    this.#floor_ms = Math.max(this.#floor_ms, before_ms);
    let oldest = this.#inbound[this.#oldest];
    while (oldest !== undefined && oldest.at_ms < this.#floor_ms) {
      this.#forgetOldest();
      oldest = this.#inbound[this.#oldest];
    }
  }

  #forgetOldest(): void {
    this.#inbound_bytes -= this.#inbound[this.#oldest]?.bytes.length ?? 0;
    this.#inbound[this.#oldest] = undefined;
    this.#oldest += 1;
    this.#next = Math.max(this.#next, this.#oldest);
    if (this.#oldest < FORGOTTEN_MIN || 2 * this.#oldest < this.#inbound.length) return;
    this.#inbound.splice(0, this.#oldest);
    this.#next -= this.#oldest;
    this.#oldest = 0;
  }

  #dial(): void {
    const folder = this.#folder;
    if (folder === undefined) return;
    const cutter = new EthernetCutter();
    const socket = createConnection(join(folder, CARD_NAME));
    this.#socket = socket;
    socket.on("connect", () => {
      if (this.#socket !== socket) return;
      this.#connected = true;
      this.#again_ms = DIAL_AGAIN_MS.first;
      this.give();
    });
    socket.on("data", (bytes: Buffer) => {
      if (this.#socket !== socket) return;
      this.#received += bytes.length;
      try {
        for (const frame of cutter.push(bytes)) {
          this.#came(countedBytes(frame.length));
          this.#put(frame);
        }
      } catch {
        socket.destroy();
      }
    });
    socket.on("drain", () => this.give());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#connected = false;
      // QEMU listens for as long as it lives.
      setTimeout(() => {
        if (this.#socket === socket) this.#dial();
      }, this.#again_ms).unref();
      this.#again_ms = Math.min(2 * this.#again_ms, DIAL_AGAIN_MS.most);
    });
  }

  #came(bytes: number): void {
    if (this.#turn_bytes === 0) {
      setImmediate(() => {
        this.#last_turn_bytes = this.#turn_bytes;
        this.#turn_bytes = 0;
      });
    }
    this.#turn_bytes += bytes;
    if (this.#turn_bytes + this.#last_turn_bytes >= ROOM_BYTES) this.#full = true;
  }

  #put(frame: Buffer): void {
    if (this.#sink?.room() === false) this.#lose();
    else {
      this.#sink?.put(frame, 0);
      this.#sink?.soon();
    }
  }

  /** As a network may, where too much waits to be let out. */
  #lose(): void {
    this.#lost += 1;
    if ((this.#lost & (this.#lost - 1)) === 0)
      this.#say(`${this.#lost} frames of the VM's network card were lost: too much of its output waits`);
  }
}
