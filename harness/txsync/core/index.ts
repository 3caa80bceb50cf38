/**
 * The core of txsync: votes, leases, transactions, gate, recovery decisions, without I/O. It owns no clock, socket, disk or
 * process; all of them are the shell's.
 *
 *     shell --event--> step(state, event) --> { state, actions } --action--> shell
 */
export type { Action, Report } from "./action.ts";
export { InvariantError } from "./assert.ts";
export { type Config, DEFAULT_TIMING } from "./config.ts";
export { mayReplaceEscrow } from "./escrow.ts";
export type { AgentEvent, EventBody, HostMemory, TimerName } from "./event.ts";
export { hears } from "./lease.ts";
export type { AppendRefusal, Message, PackageHead, RecordHeader, RecordId, Refusal, Status } from "./message.ts";
export { isFree, isOwner, isWhole, lettingOutFreely, mayGoOn } from "./owner.ts";
export { ALL_RULES, type Rules } from "./rules.ts";
export { GENESIS, initialState, ownOpened, SWITCHOVER } from "./start.ts";
export type { AgentState, Leaving } from "./state.ts";
export { step } from "./step.ts";
export * from "./values.ts";
