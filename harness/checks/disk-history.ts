import * as z from "zod";
import { DISK_FORMATS, DISK_KINDS } from "../base/configuration.ts";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const count = z.number().nonnegative();
const diskSchema = z.object({
  kind: z.enum(DISK_KINDS),
  /** Of the image; runs of before there was a choice do not say: raw. */
  format: z.enum(DISK_FORMATS).optional(),
  /** Records that the guest says it has written. */
  told: count,
  /** Records that are not what was written there last, and the first of them. */
  wrong: count,
  first: z
    .object({
      place: z.string(),
      expected: count,
      found: z.union([count, z.literal(["torn", "missing"])]),
      kind: z.enum(["older", "future", "other"]),
    })
    .optional(),
  /** Of a file system: what its checker said, where it was not content. */
  fsck: z.string().optional(),
  /** Of a qcow2: what its checker said, where it found it damaged; its records were not read then. */
  damaged: z.string().optional(),
  /** And where it has room that nobody uses. */
  leaks: z.string().optional(),
});
const disksSchema = z.object({
  disks: z.array(diskSchema).readonly(),
  /** That the guest had counted when it let go of them: before it writes a record it reads those before it. */
  errors: count,
});
export type DiskFindings = Readonly<z.infer<typeof disksSchema>>;

/** What lies on the disks once the guest has let go of them, read where they are stored. */
export const onDisks = finding({
  name: "disks",
  stage: "quiet",
  schema: disksSchema,
  look: async ({ guest, vm, storage }) => {
    if (vm === undefined || storage === undefined) return undefined;
    const told = await guest.disks(vm);
    return told === undefined ? undefined : await storage(told);
  },
});

/** Every record that the guest wrote to its disks is there, none is older and none is from the future; images and file systems are clean. */
export const diskHistory: Check = {
  name: "disk-history",
  false_means: "corrupt",
  needs: [onDisks],
  applies: ({ evidence }) => !evidence.held_still && evidence.guest.can.includes("disks"),
  judge: ({ evidence }) =>
    judged(onDisks.of(evidence), ({ disks, errors }) => {
      for (const [number, { kind, format = "raw", wrong, first, fsck, damaged }] of disks.entries()) {
        const disk = `disk ${number} (${format === "raw" ? kind : `${kind} in ${format}`})`;
        if (damaged !== undefined) return { verdict: false, summary: `${disk}: the image is damaged: ${damaged}` };
        if (wrong > 0) {
          const { place = "?", expected = 0, found = "?", kind: how = "other" } = first ?? {};
          const which = how === "other" ? "" : how === "older" ? ", an older one" : ", one from the future";
          return {
            verdict: false,
            summary: `${disk} has ${wrong} wrong records: at ${place} has to be record ${expected}, and there is ${found}${which}`,
          };
        }
        if (fsck !== undefined) return { verdict: false, summary: `${disk}: the file system is not clean: ${fsck}` };
      }
      if (errors > 0) return { verdict: false, summary: `the guest itself counted ${errors} errors` };
      if (disks.some(({ told }) => told === 0)) return { verdict: "unknown", summary: "a disk was never written to" };
      const told = disks
        .map(({ kind, format = "raw", told: records, leaks }) => {
          const where =
            format === "raw" ? kind : `${kind} in a ${format} that ${leaks === undefined ? "is clean" : "leaks"}`;
          return `${records} on ${where}`;
        })
        .join(", ");
      return { verdict: true, summary: `all records are as they were written last: ${told}` };
    }),
};
