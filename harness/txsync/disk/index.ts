export { type Backend, FileBackend } from "./backend.ts";
export { NbdClient, NbdGoneError, NbdRequestError, RemoteBackend } from "./client.ts";
export { Disk, type DiskMode } from "./disk.ts";
export { Fence, FencedError } from "./fence.ts";
export type { DiskChange } from "./overlay.ts";
export { type ServedDisk, serveNbd } from "./server.ts";
export { compareStamps, type Stamp, stamped } from "./stamp.ts";
