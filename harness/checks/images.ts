import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const imagesSchema = z.array(
  z.object({
    name: z.string(),
    /** What the checker of its format said, where it found anything wrong. */
    format: z.string().optional(),
    /** File systems that were found on it and can be looked at, and what their checker said where that was not content. */
    filesystems: z.array(z.object({ where: z.string(), kind: z.string(), fsck: z.string().optional() })),
    /** Where the user's image had a file system, and none is to be found any more. */
    gone: z.array(z.string()).optional(),
    /** Why its file systems were not looked at. */
    not_looked: z.string().optional(),
  }),
);
export type ImageFindings = Readonly<z.infer<typeof imagesSchema>>;

/** The VM stands still by then, as after a loss of power: what a journal has to mend is mended on a copy. */
const onImages = finding({
  name: "images",
  stage: "end",
  schema: imagesSchema,
  look: async ({ images }) => await images?.(),
});

/** The VM's disks are whole, as far as their format and file systems tell by themselves. */
export const diskImages: Check = {
  name: "disk-images",
  false_means: "corrupt",
  needs: [onImages],
  applies: ({ evidence }) => evidence.guest.can.includes("images") && !evidence.held_still,
  judge: ({ evidence }) =>
    judged(onImages.of(evidence), (found) => {
      for (const { name, format, filesystems } of found) {
        if (format !== undefined) return { verdict: false, summary: `${name} is damaged: ${format}` };
        const bad = filesystems.find(({ fsck }) => fsck !== undefined);
        if (bad !== undefined)
          return { verdict: false, summary: `${name}, ${bad.where}: the ${bad.kind} is not clean: ${bad.fsck}` };
      }
      const lacking = found.find(({ gone = [] }) => gone.length > 0);
      // It may have made that so itself; or what says that there is one was lost.
      if (lacking !== undefined)
        return {
          verdict: "unknown",
          summary: `${lacking.name}, ${lacking.gone?.join(", ")}: the image came with an ext4, and there is none any more`,
        };
      const told = found.map(({ name, filesystems, not_looked }) => {
        const kinds = filesystems.map(({ kind, where }) => `${kind} ${where} clean`);
        return `${name}: ${[...kinds, ...(not_looked === undefined ? [] : [not_looked])].join(", ") || "no file system that can be looked at"}`;
      });
      return { verdict: true, summary: `the disks are whole: ${told.join("; ")}` };
    }),
};
