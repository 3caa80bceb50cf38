import * as z from "zod";
import { HOST_ROLES } from "../base/timeline.ts";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const count = z.number().nonnegative();
/** Some things that were counted, the first and the last of them in words. */
const named = z.exactOptional(z.string());
const counted = z.object({ count, first: named, last: named });
export type Counted = Readonly<z.infer<typeof counted>>;

const outputSchema = z.object({
  /** Frames that came in, each counted once. */
  frames: count,
  /** Frames that came once more, as they had come before. */
  repeated: count,
  /** Of all frames, those that were let out after switchover. */
  after_switchover: count,
  /** Frames that came once more with another content: two histories of one VM have been seen outside. */
  changed: counted,
  /** New frames of a generation that a newer one had succeeded, and that the newer one never let out. */
  late: counted,
  /** Times a frame was refused because something was missing before it; it was asked for again. */
  gaps: counted,
  /** Lines that could not be read; what was in them was asked for again. */
  torn: count,
  /** Frames that never came, though somebody says to have let them out, or a later one was seen. */
  missing: counted,
  /** How far each host says to have let output out, and whether all of it came. */
  marks: z.array(z.object({ host: z.enum(HOST_ROLES), frame: count, came: z.boolean() })).readonly(),
});
export type OutputFindings = Readonly<z.infer<typeof outputSchema>>;

/** Read when nothing more is done with the VM: what comes out while it is put through something belongs to it too. */
export const edge = finding({
  name: "edge",
  stage: "end",
  of_vm: false,
  schema: outputSchema,
  look: async (view) => view.edge?.(),
});

/** "the first: …, the last: …", or the only one. */
export function inWords({ first = "", last = "" }: Counted): string {
  return first === last || last === "" ? first : `the first: ${first}; the last: ${last}`;
}

/**
 * What left the VM is one history: a frame that was let out again is the frame that it was, and a generation that has
 * been succeeded lets out nothing that the newer one does not.
 */
export const output: Check = {
  name: "output",
  false_means: "split-brain",
  needs: [edge],
  applies: ({ evidence }) => evidence.gated,
  judge: ({ evidence }) =>
    judged(edge.of(evidence), ({ frames, changed, late, after_switchover, repeated }) => {
      if (frames === 0) return { verdict: "unknown", summary: "nothing came out of the VM" };
      if (changed.count + late.count > 0)
        return {
          verdict: false,
          summary: `${changed.count} frames changed, ${late.count} are of a generation that had been succeeded: ${inWords(changed.count > 0 ? changed : late)}`,
          evidence: { changed: { ...changed }, late: { ...late } },
        };
      return {
        verdict: true,
        summary: `${frames} frames, ${after_switchover} of them since switchover, ${repeated} let out again and the same`,
      };
    }),
};
