import { makeGuest } from "../../guests/index.ts";

export const SMALL_BYTES = 64 * 1024 ** 2;

/** A small bare-metal guest under TCG, as a QEMU or an agent is asked for it. */
export function smallVm() {
  const { files } = makeGuest("integrity", { seed: 1, memory_bytes: SMALL_BYTES, accel: "tcg", emit: () => undefined });
  return { ...files, accel: "tcg", machine: "q35", vcpus: 1, extra: [], memory_bytes: SMALL_BYTES } as const;
}
