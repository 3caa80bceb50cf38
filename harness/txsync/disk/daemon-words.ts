import * as z from "zod";

/** What the daemon of a host's disks is started with. */
export const daemonConfigSchema = z.strictObject({
  /** On the host's tmpfs: what is not in the images yet, and the daemon's sockets. */
  folder: z.string(),
  /** Exports at the storage host, and here. */
  disks: z.array(z.string().regex(/^[a-z0-9-]+$/)).min(1),
  storage: z.strictObject({ host: z.string(), port: z.int().min(1).max(65535) }),
  /** A storage that does not answer for so long: the guest's I/O fails, and QEMU stops it. */
  patience_ms: z.int().min(1),
});
export type DaemonConfig = z.infer<typeof daemonConfigSchema>;

const count = z.int().nonnegative();

/** What the agent asks the daemon for, one JSON object a line, each answered by one with the same `id`. */
export const requestSchema = z.discriminatedUnion("do", [
  /** A VM of this generation runs here. `through`: what it writes goes into the image at once; else it waits for its commit. */
  z.strictObject({ id: count, do: z.literal("own"), generation: count, through: z.boolean() }),
  /** No VM runs here: nothing goes into the image. */
  z.strictObject({ id: count, do: z.literal("disown") }),
  /** A `stop` is under way, or over: see Disk.hurry. */
  z.strictObject({ id: count, do: z.literal("hurry"), on: z.boolean() }),
  /** The VM stands still: what it wrote since the last mark belongs to transaction n. */
  z.strictObject({ id: count, do: z.literal("mark"), n: count }),
  z.strictObject({ id: count, do: z.literal("commit"), n: count }),
  /** QEMUs with a lower number than this have no disks any more, and nothing of theirs is under way. */
  z.strictObject({ id: count, do: z.literal("close-out"), below: count }),
  /**
   * A VM is made again from a log: what is kept here is dropped, and what the file has, as a segment, goes into the image of
   * each disk that it names, for this generation.
   */
  z.strictObject({ id: count, do: z.literal("redo"), generation: count, segments: z.record(z.string(), z.string()) }),
  z.strictObject({ id: count, do: z.literal("status") }),
]);
export type DaemonRequest = z.infer<typeof requestSchema>;
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
export type DaemonWords = WithoutId<DaemonRequest>;

export const statusSchema = z.object({
  /** The last transaction whose writes are in all images and kept there; 0 where that is none of this life. */
  applied: count,
  /** Not in the images. */
  overlay_bytes: count,
  through: z.boolean(),
  /** Of all disks: flushes that were answered. */
  flushes: z.array(count),
  storage: z.enum(["there", "away"]),
});
export type DaemonStatus = z.infer<typeof statusSchema>;

export const answerSchema = z.union([
  z.object({ id: count, status: statusSchema }),
  z.object({ id: count, error: z.string() }),
]);

export const NBD_SOCKET = "nbd";
export const WORDS_SOCKET = "words";
