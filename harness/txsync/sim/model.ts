/**
 * How the simulated shells are built. Production is `TODAY`; the rest is how they once were, or how they must not be: a
 * simulator that is worth its time finds what is wrong with each.
 */
export interface Model {
  /** Votes and leases wait for records: the thread that handles them also copies, encodes, sends and checks. */
  readonly oneThread: boolean;
  /** A record since the base is everything that is present, not everything that changed. */
  readonly basePresent: boolean;
  /** A record that is dropped while another is being taken makes the tracker forget what ever changed. */
  readonly dropForgets: boolean;
  /** A mark is taken from before the transaction. */
  readonly staleMark: boolean;
  /** What changes is tracked from when the running VM's memory was copied, not from before. */
  readonly armedLate: boolean;
  /** The escrow's copy of the base leaves no room for a record that comes. */
  readonly copyTakesAll: boolean;
  /** A connection that was dialled into a cut link is left to its other end. */
  readonly deadLines: boolean;
  /** Of a connection is read on while more comes. */
  readonly longTurns: boolean;
}

export const TODAY: Model = {
  oneThread: false,
  basePresent: false,
  dropForgets: false,
  staleMark: false,
  armedLate: false,
  copyTakesAll: false,
  deadLines: false,
  longTurns: false,
};

/** Shells that do wrong: what the escrow says of them is expected, and no protection is. */
export function isSabotaged({ dropForgets, staleMark }: Model): boolean {
  return dropForgets || staleMark;
}
