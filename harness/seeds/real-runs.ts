/**
 * Which run of real parts has to show a bug: words of `ferryman run`, or why none can. A scenario by its name alone is one
 * that is there anyway; what stands behind it is what makes the bug show, where the scenario as it is does not: output that
 * waits at the moment of the fault, more pages a second, another guest.
 */
export type RealRun = { readonly run: readonly string[] } | { readonly unseen: string };

const run = (words: string): RealRun => ({ run: words.split(" ") });
const unseen = (why: string): RealRun => ({ unseen: why });

/** The target's host dies while its guest talks all the time. */
const TALKING = run("target-host-killed --chatter 200");
/** A record is stored, and the escrow's answer does not come: its output waits when the host dies. */
const UNANSWERED = run(
  "no-fault --chatter 200 --fault cut-silent:target-escrow,backward@step=record-stored --fault kill-host:target@fault=0+150ms --expect intact",
);
/** The record's end is still on its way when the host dies. */
const HALF_SENT = run(
  "no-fault --chatter 200 --write-rate 20000 --fault bandwidth:target-escrow,forward,rate=4MiB@step=target-running --fault kill-host:target@fault=0,step=record-half-sent --expect intact",
);
/** The escrow's agent dies in the middle of a record, is back, and then the target's host dies. */
const TORN = run(
  "no-fault --write-rate 20000 --fault kill-process:escrow,agent@step=record-half-sent --fault kill-host:target@fault=0+1500ms --expect intact",
);
const DISKS = "target-host-killed --guest linux --memory 192 --disk raw";
const SECOND_BUG = "it believes what nobody sends who is well: that takes a second bug";
const POWER =
  "hosts are containers: a killed one loses its memory, and never what its kernel has still to write to a disk";
const RACE = "it takes two candidates, or two messages, in one order of many: no fault of a run has them so";
const TWO_HOSTS =
  "it takes a host that loses its memory just as another one's generation changes: the simulator finds it";
const BUSY =
  "it takes processors that others keep busy (escrow-link-blinks --memory 1024 --write-rate 20000 --jobs 2 lost 3 of 6 so), and a run must not hang on that";
const TAMPERED = "it takes somebody who changes bytes on the way, and TCP brings what was sent";

/** Of every bug in what ships, by the name of the bug. */
export const REAL_RUNS: Readonly<Record<string, RealRun>> = {
  // ---- the core
  "vote-forgotten": run("restored-then-source-agent-restarted"),
  "number-given-twice": unseen(RACE),
  "answered-before-disk": unseen(RACE),
  "any-promise-counts": unseen(RACE),
  "pre-promise-opens": unseen("whoever would be promised is promised, unless somebody else asks in the same moment"),
  "free-time-forgotten": unseen(RACE),
  "works-without-vote": unseen(RACE),
  "number-used-again": run("target-agent-restarted"),
  "sealed-owner-goes-on": unseen(
    "who is cut off promises nothing, and who is heard is not superseded: it takes a race",
  ),
  "old-vm-stays": run("target-cut-off-long-then-healed"),
  "claim-lets-out": unseen("a claim has a VM that does not run yet: there is nothing that it could let out"),
  "output-twice": unseen("the edge knows a frame by its number: one that comes again is thrown away, as it has to be"),
  "output-dropped": run("no-fault"),
  "gate-beyond-mark": TALKING,
  "any-answer-commits": unseen(RACE),
  // With less memory the migration is over before the storage fails.
  "answered-before-stored": run("escrow-storage-fails --memory 128 --chatter 200"),
  "record-applied-twice": run("escrow-link-blinks"),
  "page-left-out": unseen(
    "the escrow refuses it as one that does not go on from its last, and gets one since the base",
  ),
  "older-log-is-latest": unseen(RACE),
  "not-asked-again": run(
    "no-fault --bandwidth 8 --chatter 200 --fault cut-silent:target-escrow,backward@step=record-stored..heal=300ms --fault kill-host:target@healed=0+600ms --expect intact",
  ),
  "output-of-a-dead-vm": unseen("a restored VM that dies before anybody heard of it: two deaths within milliseconds"),
  "lost-at-restart": run("target-agent-restarted --chatter 1000"),
  "lost-at-switchover": run("protected-source-host-killed-at-switchover --chatter 1000"),
  "lost-at-restore": UNANSWERED,
  "restored-after-it-ran": unseen("votes refuse it as well: this wish is the first of two lines"),
  "always-heard": run("target-host-killed"),
  "deaf-to-one-side": run("target-qemu-killed"),
  "handoff-without-vote": run("cut-during-handoff --chatter 200"),
  // ---- that were there once
  "laid-over-in-a-restore": unseen(RACE),
  "laid-over-meanwhile": unseen(RACE),
  "ready-counts-as-contained": unseen(
    "the agent has to die between telling the restored VM to run and hearing that it does",
  ),
  "asker-not-heard": unseen(TWO_HOSTS),
  "answer-without-base": unseen(TWO_HOSTS),
  "lost-tail-forgotten": unseen(POWER),
  "opened-forgotten": unseen("the agent has to die while a free generation is written to its disk"),
  "refused-too-early-for-ever": unseen("it costs a recovery a tenth of a second, and no VM"),
  "record-without-its-writes": unseen(
    "QEMU has to die within the milliseconds in which a record's last pieces are read",
  ),
  "dead-qemu-finds-room": unseen(
    "the VM has to come back by a package to a host on which it died with writes that waited",
  ),
  "floor-of-another-count": unseen("it takes two takes that come to nothing about an agent's restart"),
  "late-output-of-the-dead": unseen(RACE),
  "output-under-way-left-behind": unseen("the source's connection to the edge has to end in the moment of switchover"),
  // ---- log
  "torn-record-accepted": TORN,
  "digest-not-compared": unseen(SECOND_BUG),
  "missing-pages-believed": unseen(SECOND_BUG),
  "mark-goes-back": unseen(SECOND_BUG),
  "old-generation-stored": unseen(SECOND_BUG),
  "gap-accepted": unseen(SECOND_BUG),
  "answered-before-synced": unseen(POWER),
  "tail-not-cut": TORN,
  "repeat-stored-twice": run("escrow-link-blinks"),
  "page-of-another-record": run("target-host-killed"),
  "stale-page-compacted": run("target-host-killed-after-handoff --write-rate 20000"),
  "output-lost-in-log": UNANSWERED,
  "log-fills-its-folder": unseen(
    "it takes a guest that rewrites a GiB (`scenarios/testing/source-host-cells.ts --memory 1024 --write-rate 100000`)",
  ),
  "promise-not-synced": unseen(POWER),
  "promise-folder-not-synced": unseen(POWER),
  "damaged-promise-believed": unseen("no fault damages what lies on a disk"),
  // ---- restore
  "zero-page-skipped": run("target-host-killed"),
  "small-block-not-laid-over": unseen("no guest writes to its firmware while it is protected"),
  "run-at-the-wrong-place": run("target-host-killed"),
  "package-over-changed-base": unseen(SECOND_BUG),
  "rom-missing": run("target-host-killed"),
  // ---- page service
  "zero-page-missing": run("no-fault --ahead 0"),
  "page-for-another": run("source-host-killed-while-ahead"),
  "page-count-wrong": run("link-cut-for-good"),
  "page-asked-once": run("link-cut-for-good"),
  "page-of-another-base": unseen(SECOND_BUG),
  "unfinished-base-served": run("source-host-killed"),
  "answer-before-record": HALF_SENT,
  // ---- transaction
  "next-epoch-mixed-in": run("target-host-killed --write-rate 20000"),
  "device-state-too-old": run("target-host-killed-connected --memory 192"),
  "mark-too-early": TALKING,
  "guest-left-still": run("generation-changes-during-take"),
  "torn-by-an-operator": unseen(
    "the next transaction mends it, and the host would have to die between the two (`operator-pauses` comes by)",
  ),
  "operator-overruled": unseen("no scenario pauses a VM by its monitor (`run/txsync/paused.real.test.ts` does)"),
  "stop-while-paused": run("target-agent-killed"),
  // ---- output
  "output-not-stored": run("target-agent-restarted --chatter 1000"),
  "half-frame-believed": unseen("it takes a death between two bytes of one small write"),
  "arrived-and-more-forgotten": run("no-fault --chatter 1000"),
  // ---- wire
  "turn-without-end": unseen(BUSY),
  "late-asked-again": run("escrow-replaced-over-a-slow-link"),
  "base-before-record": unseen(BUSY),
  "mac-not-compared": unseen(TAMPERED),
  "checksum-not-compared": unseen(TAMPERED),
  "replay-accepted": unseen(TAMPERED),
  // ---- disks
  "uncommitted-write-let-through": run(DISKS),
  "commit-not-flushed": unseen(POWER),
  "stale-flush": unseen(SECOND_BUG),
  "flush-answered-early": unseen(POWER),
  "dropped-write-kept": run(DISKS),
  "older-write-read": run("no-fault --guest linux --memory 192 --disk raw --disk ext4"),
  "applied-too-far": run(DISKS),
  "redone-from-here": run(DISKS),
  "piece-of-another-disk": run("target-host-killed --guest linux --memory 192 --disk raw --disk ext4"),
  "fence-forgotten": run("target-cut-off-long-then-healed --guest linux --memory 192 --disk raw"),
  "fence-lost-at-restart": unseen("the storage would have to be started again between a restore and a late write"),
  "write-in-hand-comes-after": unseen(RACE),
  // ---- network
  "inbound-frame-lost": unseen("TCP sends again whatever is lost, as it has to"),
  "inbound-frame-twice": run("no-fault --guest linux --memory 192 --net virtio"),
  "given-while-pages-lack": run("target-agent-killed --guest linux --memory 192 --net virtio"),
  "kept-without-bound": unseen("it takes more frames than 128 MiB while nothing is committed"),
  "settled-too-soon": run("network-storm"),
  "full-socket-untold": run("network-storm"),
  // ---- agents' switchover
  "gone-by-its-first-thread": unseen(RACE),
  "package-older-than-the-memory": unseen(SECOND_BUG),
  "ended-for-its-silence": unseen("the storage would have to be silent from the moment of the switchover on"),
  "another-attempt-ended": unseen(RACE),
  "changed-and-changed-back": unseen("the guest counts: what it writes never is as it was"),
  "hole-taken-for-missing": unseen("hosts' tmpfs have no huge pages"),
  "records-starve-pages": unseen("its post-copy only lasts longer: a test must not assert a time"),
  "records-beside-the-bound": unseen("its migration only takes more of the network than it was given"),
  "found-and-forgotten": run("no-fault --protect-before --write-rate 20000"),
  "written-behind-thrown": unseen(SECOND_BUG),
  "ahead-on-its-way": unseen("it takes a link that is slower than the rate that was asked for"),
  "waits-for-who-cannot": run(
    "--fault kill-process:source,qemu@step=precopy --fault cut-silent:source-escrow@fault=0 --expect intact --protect-before",
  ),
};

/** The bug's run, where one has to show it. @throws Error for a bug that nobody has given one, nor a reason */
export function realRunOf(name: string): RealRun {
  const found = REAL_RUNS[name];
  if (found === undefined) throw new Error(`seed ${name}: nobody says which run of real parts has to show it`);
  return found;
}
