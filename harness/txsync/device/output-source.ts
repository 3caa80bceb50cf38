/**
 * Something by which the VM tells the world: a serial line, a network card. What the agent needs of it, whatever it is, so
 * that gate, numbering, marks, records and restore know no kinds (agent/output.ts keeps what sources put out):
 *
 * - **look**: what it has put out is handed to the sink, piece by piece, each one frame of the VM's output;
 * - **mark**: a transaction's mark is the last frame that there is while the VM stands still. A source of which something
 *   may still be on its way then has `settle`, and says whether QEMU may have been kept from sending (`lagged`);
 * - **hold, replay**: the gate's and the record's matter, which have the frames by their numbers and never ask a source.
 *
 * A new kind is a file beside serial-line.ts and a line where the agent makes its sources (agent/devices.ts).
 */
export interface OutputSource {
  /** In frames and records: 0 and 1 are the serial lines, 2 the network card. Never given to another source. */
  readonly channel: number;
  /** In QEMU's arguments, and in its folder. */
  readonly name: string;
  /**
   * Takes it up at the QEMU in this folder.
   * @param end how far it was read before, as the sink was last told; 0 for a new one
   */
  follow(folder: string, end: number, sink: OutputSink): void;
  unfollow(): void;
  /** How far that QEMU has come: for whoever takes it over and has nothing to do with what it said before. */
  endIn(folder: string): number;
  /** Hands over what can be had at once. */
  look(): void;
  /** What was read up to here, as the sink was told, is stored: it will never be read here again. */
  stored?(end: number): void;
  /** The VM is about to stand still. */
  stopping?(): void;
  /**
   * Settles when all that QEMU has sent by now has been handed over; a source that is a file needs none, because a look
   * finds everything. Asked while `drains`.
   */
  /** What nobody takes may be lost, once the gate has let it go: a network's frames. */
  readonly may_lose?: boolean;
  settle?(): Promise<void>;
  /** Since `stopping` so much has come that QEMU may have had no room for more. */
  readonly lagged?: boolean;
  /** Something of the QEMU that is followed may be on its way from there to here. */
  readonly drains?: boolean;
  /** What somebody outside sends in by this channel; absent: it has no way in, or another one. */
  type?(bytes: Uint8Array): void;
}

/** What takes a source's output. */
export interface OutputSink {
  /**
   * The next piece, which is kept whole. @param end how far the source has been read with it: kept with the piece, and told
   * again to `follow` after a restart of the agent. 0 where nothing can be read twice.
   */
  put(bytes: Uint8Array, end: number): void;
  /** There is something to be looked at: done together with what comes in the next millisecond. */
  soon(): void;
  /** False while so much waits that a source which may lose something (a network may) should do so. */
  room(): boolean;
}
