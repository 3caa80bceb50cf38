import { type Check, judged } from "./check.ts";

/** The guest looked through its own memory and found nothing wrong, neither now nor while it worked. */
export const guestSelfCheck: Check = {
  name: "guest-self-check",
  false_means: "corrupt",
  applies: ({ held_still }) => !held_still,
  judge: ({ guest }) =>
    judged(guest, ({ pages_checked, bad_count, errors, first }) => {
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
