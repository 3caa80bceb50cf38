/** Rules that the simulator may switch off, to show that it finds the harm. Production uses `ALL_RULES`. */
export interface Rules {
  /** A promise is on disk before it is sent. */
  readonly promiseDurable: boolean;
  /** The escrow refuses records of generations older than its promise. */
  readonly refuseOldRecords: boolean;
  /** The gate opens when the escrow has said so, not when the transaction is taken. */
  readonly gateWaitsForCommit: boolean;
  /** The escrow's silence alone does not open the gate: that takes the source's promise. */
  readonly unprotectedNeedsVote: boolean;
  /** Who promised a generation that lets output out freely promises none to anyone else. */
  readonly freeBindsForEver: boolean;
  /** An agent that hears a well owner refuses to promise. */
  readonly refuseWhileHearing: boolean;
  /** A restarted target opens a new generation before it appends again. */
  readonly restartOpensGeneration: boolean;
  /** A promise waits for a record that is being stored, and names it. */
  readonly promiseWaitsForStore: boolean;
  /** A log that missed an unprotected time restores nothing. */
  readonly logMustBeValid: boolean;
  /** The source's own promise is on disk before the package leaves. */
  readonly packageAfterPromise: boolean;
  /** A new owner lets out again what it cannot know to have arrived. */
  readonly letOutAgain: boolean;
  /** A claimed VM runs only after the second vote. */
  readonly runAfterVote: boolean;
  /** The second vote asks whether more was committed since the claim. */
  readonly finalChecksBasis: boolean;
  /** A record is relative to a record that the escrow has: the target counts from there, the escrow looks. */
  readonly sinceIsStored: boolean;
  /** After a gap the first record holds what changed since the log's last, not all that ever changed. */
  readonly gapCostsWhatChanged: boolean;
  /** The escrow refuses a record whose marks go back, and does not commit what the log refused. */
  readonly escrowDistrusts: boolean;
  /** Protection is said to be on when the generation's first record is committed. */
  readonly protectionWhenCommitted: boolean;
  /** What a restored VM emits leaves when it is known to run. */
  readonly readyHoldsOutput: boolean;
  /** A restored VM that died before it was known to run is restored again. */
  readonly restoreWhatNeverRan: boolean;
  /** An older status is told from a restarted clock by the sender's incarnation. */
  readonly incarnationTellsLives: boolean;
  /** A log that lost records which may have been answered for restores nothing. */
  readonly lostTailVoidsLog: boolean;
  /** A record whose bytes still move is not sent again. */
  readonly movingIsNotSilent: boolean;
  /** However often a disk did not take a record, it is tried again within a bound. */
  readonly failedStoreIsTriedAgain: boolean;
  /** A target that cannot tell which pages change asks to go on without protection. */
  readonly untrackableGivesUp: boolean;
  /** An escrow that lost the base protects nothing: it gets another one. */
  readonly hollowIsNoProtection: boolean;
  /** The escrow gives its base up for another one of the VM's owner alone, and only where nothing rests on it. */
  readonly adoptsOwnersBase: boolean;
  /** An owner that is to hold its output back while the escrow is not heard does. */
  readonly holdWaits: boolean;
  /** A protected VM leaves its host when the escrow has its last transaction there. */
  readonly leavesWhenStored: boolean;
  /** The target's records wait until the escrow has the base that they are relative to. */
  readonly recordsWaitForBase: boolean;
  /** A target that waits for a protected VM makes it again where that VM's host dies before it has left. */
  readonly restoresWhileWaiting: boolean;
  /** A claim whose base is gone for a lease is given up: another host may still have the VM itself. */
  readonly claimNeedsBase: boolean;
  /** An escrow that comes up again knows from its log that the generation which it has promised was opened. */
  readonly logTellsOpened: boolean;
  /** A restored VM that runs lacks nothing, as its agent knows after a restart too. */
  readonly restoredStaysWhole: boolean;
  /** An agent that comes up again knows that what its VM came from was opened: older words take nothing away. */
  readonly restartKnowsOrigin: boolean;
  /** An owner that holds its output back, and whose new base the escrow does not take, has its log declared void. */
  readonly refusedBaseComesAgain: boolean;
  /** Another escrow comes in the place of one that is gone while the VM is unprotected, and votes when both others say so. */
  readonly replacedWhileUnprotected: boolean;
}

export const ALL_RULES: Rules = {
  promiseDurable: true,
  refuseOldRecords: true,
  gateWaitsForCommit: true,
  unprotectedNeedsVote: true,
  freeBindsForEver: true,
  refuseWhileHearing: true,
  restartOpensGeneration: true,
  promiseWaitsForStore: true,
  logMustBeValid: true,
  packageAfterPromise: true,
  letOutAgain: true,
  runAfterVote: true,
  finalChecksBasis: true,
  sinceIsStored: true,
  gapCostsWhatChanged: true,
  escrowDistrusts: true,
  protectionWhenCommitted: true,
  readyHoldsOutput: true,
  restoreWhatNeverRan: true,
  incarnationTellsLives: true,
  lostTailVoidsLog: true,
  movingIsNotSilent: true,
  failedStoreIsTriedAgain: true,
  untrackableGivesUp: true,
  hollowIsNoProtection: true,
  adoptsOwnersBase: true,
  holdWaits: true,
  leavesWhenStored: true,
  recordsWaitForBase: true,
  restoresWhileWaiting: true,
  claimNeedsBase: true,
  logTellsOpened: true,
  restoredStaysWhole: true,
  restartKnowsOrigin: true,
  refusedBaseComesAgain: true,
  replacedWhileUnprotected: true,
};
