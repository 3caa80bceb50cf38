import * as z from "zod";
import { type Check, judged } from "./check.ts";
import { finding } from "./finding.ts";

const count = z.number().nonnegative();
const guestSchema = z.object({
  pages_checked: count,
  bad_count: count,
  /** Errors the guest counted while it worked, and damage its console tells of (an oops, a panic). */
  errors: count,
  first: z.string(),
});
export type GuestFindings = Readonly<z.infer<typeof guestSchema>>;

/** Asked while it is watched who moves: the guest is at work then, as it always is. */
export const ofItself = finding({
  name: "guest",
  stage: "watched",
  schema: guestSchema,
  look: async ({ guest, vm }) => (vm === undefined ? undefined : await guest.selfCheck(vm)),
});

/** The guest looked through its own memory and found nothing wrong, neither now nor while it worked. */
export const guestSelfCheck: Check = {
  name: "guest-self-check",
  false_means: "corrupt",
  needs: [ofItself],
  applies: ({ evidence }) => !evidence.held_still && evidence.guest.can.includes("self-check"),
  judge: ({ evidence }) =>
    judged(ofItself.of(evidence), ({ pages_checked, bad_count, errors, first }) => {
      if (bad_count > 0 || errors > 0) {
        return {
          verdict: false,
          summary: `the guest found ${bad_count} bad pages and counted ${errors} errors; the first: ${first}`,
        };
      }
      if (pages_checked === 0) return { verdict: "unknown", summary: "the guest checked no page" };
      return { verdict: true, summary: `the guest checked ${pages_checked} pages of its own and found them good` };
    }),
};
