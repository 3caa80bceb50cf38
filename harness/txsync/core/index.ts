/** The core of txsync: votes, leases, transactions, gate, recovery decisions, without I/O. See `types.ts`. */
export { InvariantError } from "./assert.ts";
export { hears } from "./lease.ts";
export { isFree, isOwner, lettingOutFreely, mayGoOn } from "./owner.ts";
export { GENESIS, initialState, SWITCHOVER } from "./start.ts";
export { step } from "./step.ts";
export * from "./types.ts";
