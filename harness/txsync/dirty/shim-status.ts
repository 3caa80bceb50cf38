import type { RegisteredRange } from "../../qemu/ram-blocks.ts";

/** What the preloaded library (fixtures/native/uffd-shim.c) says of the tracking that it set up. */
export type ShimStatus =
  | { readonly tracking: true; readonly ranges: readonly RegisteredRange[] }
  | { readonly tracking: false; readonly why: string };

/**
 * Reads the library's status file; its lines are described in uffd-shim.c. For people and for the timeline: whether a
 * page was written is the kernel's to say, not this file's.
 * @param text undefined where there is no such file.
 */
export function readShimStatus(text: string | undefined): ShimStatus {
  if (text === undefined || text === "") {
    return { tracking: false, why: "QEMU runs without the preloaded library, or has not begun to receive" };
  }
  const ranges = new Map<string, RegisteredRange & { readonly protected: boolean; readonly error: number }>();
  let api_error: number | undefined;
  for (const line of text.split("\n")) {
    const [what, fd = "", third = "", length = "", how = "", error = "0"] = line.split(" ");
    if (what === "api") api_error = third === "wp" ? undefined : Number(length);
    const range = `${fd} ${third} ${length}`;
    if (what === "register") {
      const [start, bytes] = [BigInt(`0x${third || "0"}`), Number.parseInt(length, 16)];
      ranges.set(range, { start, bytes, protected: how === "wp", error: Number(error) });
    }
    if (what === "unregister") ranges.delete(range);
  }
  if (api_error !== undefined) {
    return {
      tracking: false,
      why: `the kernel has no asynchronous write-protection (error ${api_error}): Linux 6.7 has`,
    };
  }
  const all = [...ranges.values()];
  if (all.length === 0) return { tracking: false, why: "QEMU has registered no memory, or none any more" };
  const refused = all.filter((range) => !range.protected);
  const [first] = refused;
  if (first !== undefined) {
    return {
      tracking: false,
      why: `the kernel refused to protect ${refused.length} of ${all.length} ranges (error ${first.error})`,
    };
  }
  return { tracking: true, ranges: all.map(({ start, bytes }) => ({ start, bytes })) };
}

/**
 * Number of the descriptor that the preloaded library opened in process `pid` for whoever tracks it from outside.
 * @returns the number, or why there is none
 */
export function readOwnDescriptor(text: string | undefined, pid: number): number | string {
  const lines = (text ?? "").split("\n").map((line) => line.split(" "));
  const own = lines.findLast(([what, whose]) => what === "own" && Number(whose) === pid);
  if (own === undefined) return "QEMU runs without the preloaded library";
  const [, , fd = "-1", error = "0"] = own;
  if (Number(fd) >= 0) return Number(fd);
  return `the kernel gave QEMU no userfaultfd with asynchronous write-protection (error ${error}): Linux 6.7 has one`;
}
