import type { Seed } from "./seed.ts";

const TXSYNC = "harness/txsync";

function seed(name: string, what: string, file: string, is: string, becomes: string, ...by: string[]): Seed {
  return { name, what, file: `${TXSYNC}/${file}`, is, becomes, by: by.map((test) => `${TXSYNC}/${test}`) };
}

const DISK = ["disk/disk.test.ts", "disk/daemon.test.ts"];
const FENCE = ["disk/server.test.ts", "disk/daemon.test.ts", "disk/storage-server.test.ts"];
const CARD = ["device/network-card.test.ts", "device/ethernet-frames.test.ts"];

/** Bugs in what the VM has beside memory: disks and a network card. */
export const WORLD_SEEDS: readonly Seed[] = [
  // ---- disks
  seed(
    "uncommitted-write-let-through",
    "with a commit goes into the image what was written after it as well",
    "disk/disk.ts",
    "      await this.#apply(n);\n      this.#applied = ",
    "      this.#overlay.mark(n + 1);\n      await this.#apply(n + 1);\n      this.#applied = ",
    ...DISK,
  ),
  seed(
    "commit-not-flushed",
    "what is committed is let go of before the storage has flushed it",
    "disk/disk.ts",
    "      for (const change of changes()) await this.#put(change);\n      await this.#image.flush();\n",
    "      for (const change of changes()) await this.#put(change);\n",
    ...DISK,
  ),
  seed(
    "stale-flush",
    "a transaction is marked whose last flush has not come",
    "disk/disk.ts",
    'if (this.#unflushed) throw new Error("the flush',
    'if (this.#unflushed && n < 0) throw new Error("the flush',
    ...DISK,
  ),
  seed(
    "flush-answered-early",
    "a flush is answered that the storage has not done",
    "disk/disk.ts",
    'if (this.#mode === "through") await this.#directly(this.#image.flush(signal));',
    "",
    ...DISK,
  ),
  seed(
    "dropped-write-kept",
    "what a restored VM does not have stays readable on its disk",
    "disk/overlay.ts",
    "    if (this.#open !== undefined) this.#remove(this.#open);\n    this.#open = undefined;\n    // From the last",
    "    // From the last",
    ...DISK,
  ),
  seed(
    "older-write-read",
    "of two writes to one place that wait the older one is read",
    "disk/overlay.ts",
    "    for (const { segment } of this.#marked.toReversed()) yield segment;",
    "    for (const { segment } of this.#marked) yield segment;",
    ...DISK,
  ),
  seed(
    "applied-too-far",
    "a transaction counts as being in the image before it is committed",
    "disk/disk.ts",
    "this.#applied = this.#overlay.last_mark === 0 ? n - 1 :",
    "this.#applied = this.#overlay.last_mark === 0 ? n :",
    ...DISK,
  ),
  seed(
    "redone-from-here",
    "a restore puts into the image what waits here, beside what the log has",
    "disk/daemon.ts",
    "      await disk.keep();\n      disk.rollBack(0);\n      const path",
    "      await disk.letThrough();\n      await disk.keep();\n      const path",
    ...DISK,
    "device/disk-part.test.ts",
  ),
  seed(
    "piece-of-another-disk",
    "a restore writes what one disk had to another",
    "device/disk-part.ts",
    "const segment = segments.get(disk) ?? Segment.create(join(folder, disk));\n        segments.set(disk, segment);",
    "const other = this.#options.disks[0] ?? disk;\n        const segment = segments.get(other) ?? Segment.create(join(folder, other));\n        segments.set(other, segment);",
    "device/disk-part.test.ts",
  ),
  seed(
    "fence-forgotten",
    "who was closed out is let in again",
    "disk/fence.ts",
    "    if (compareStamps(stamp, this.#lowest) >= 0) return;",
    "    if (compareStamps(stamp, this.#lowest) >= 0 || stamp.generation > 0) return;",
    ...FENCE,
  ),
  seed(
    "fence-lost-at-restart",
    "a storage server that is started again has forgotten whom it had closed out",
    "disk/fence.ts",
    "    this.#keep(stamp);\n",
    "",
    ...FENCE,
  ),
  seed(
    "write-in-hand-comes-after",
    "whoever closes somebody out does not wait for what that one has in hand",
    "disk/fence.ts",
    "    while (this.#in_hand.size > 0) await Promise.allSettled(this.#in_hand);\n",
    "",
    ...FENCE,
  ),
  // ---- network
  seed(
    "inbound-frame-lost",
    "a restored VM is not given again what came in after its transaction",
    "device/network-card.ts",
    "    if (folder !== this.#given_to) this.#next = this.#oldest;\n",
    "",
    ...CARD,
  ),
  seed(
    "inbound-frame-twice",
    "a frame that came in is given to the VM again and again",
    "device/network-card.ts",
    "    for (; this.#next < this.#inbound.length; this.#next += 1) {",
    "    for (; this.#next < this.#inbound.length; this.#next += Number(this.#given_to === undefined)) {",
    ...CARD,
  ),
  seed(
    "given-while-pages-lack",
    "frames are given to a QEMU whose main loop would wait for a page",
    "device/network-card.ts",
    " || this.#folder === undefined || !this.#takesIn()) return;",
    " || this.#folder === undefined) return;",
    ...CARD,
  ),
  seed(
    "kept-without-bound",
    "the newest frames are thrown away, and the oldest kept",
    "device/network-card.ts",
    "    while (this.#inbound_bytes > KEPT_BYTES_MAX) this.#forgetOldest();\n",
    "    if (this.#inbound_bytes > KEPT_BYTES_MAX) this.#inbound_bytes -= this.#inbound.pop()?.bytes.length ?? 0;\n",
    ...CARD,
  ),
  seed(
    "settled-too-soon",
    "a card counts as read empty while frames still lie in its socket",
    "device/network-card.ts",
    "      if (this.#received === before) return;",
    "      if (this.#received >= before) return;",
    ...CARD,
  ),
  seed(
    "full-socket-untold",
    "that QEMU had no room for more is forgotten with the next stop",
    "device/network-card.ts",
    "    return this.#full || this.#was_full;",
    "    return this.#full;",
    ...CARD,
  ),
];
