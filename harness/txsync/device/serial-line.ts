import { closeSync, type FSWatcher, fstatSync, openSync, readSync, statSync, watch } from "node:fs";
import { join } from "node:path";
import { FileRoom } from "./file-room.ts";
import type { OutputSink, OutputSource } from "./output-source.ts";

/** The guest's serial lines that pass the gate, by channel. */
export const SERIAL_LINES = ["com1", "com2"] as const;

const READ_BYTES = 64 * 1024;
/** So much that was read and stored is taken out of QEMU's file: what that has is bounded by what waits to be read. */
const FREE_BYTES = 4 * 2 ** 20;

/**
 * A serial line that QEMU writes into a file of its own, and goes on doing so while the agent is away: a frame is what was
 * new in one look. After `stop` a look finds everything that the guest has put out. What was read and is stored takes no room
 * there any more; the file goes on being as long as all that the VM ever said there.
 */
export class SerialLine implements OutputSource {
  readonly channel: number;
  readonly name: string;
  #file: number | undefined;
  #watcher: FSWatcher | undefined;
  #sink: OutputSink | undefined;
  #end = 0;
  #room: FileRoom | undefined;

  constructor(channel: number, name: string) {
    this.channel = channel;
    this.name = name;
  }

  follow(folder: string, end: number, sink: OutputSink): void {
    this.unfollow();
    const path = this.#pathIn(folder);
    this.#file = openSync(path, "r");
    this.#room = new FileRoom(path, FREE_BYTES);
    this.#end = end;
    this.#sink = sink;
    // inotify tells of output at once; whoever follows looks now and then for what it might miss.
    this.#watcher = watch(path, { persistent: false }, () => sink.soon());
    this.#watcher.on("error", () => undefined);
  }

  unfollow(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
    this.#room = undefined;
  }

  endIn(folder: string): number {
    return statSync(this.#pathIn(folder)).size;
  }

  look(): void {
    const file = this.#file;
    if (file === undefined) return;
    for (;;) {
      const length = Math.min(fstatSync(file).size - this.#end, READ_BYTES);
      if (length <= 0) return;
      const bytes = Buffer.alloc(length);
      const read = readSync(file, bytes, 0, length, this.#end);
      if (read === 0) return;
      this.#end += read;
      this.#sink?.put(bytes.subarray(0, read), this.#end);
    }
  }

  stored(end: number): void {
    void this.#room?.free(end);
  }

  #pathIn(folder: string): string {
    return join(folder, `${this.name}.out`);
  }
}
