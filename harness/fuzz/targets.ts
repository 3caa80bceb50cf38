import { SCENARIOS } from "../../scenarios/index.ts";
import { UserError } from "../base/errors.ts";
import { parseFault, printFault } from "../cli/fault-grammar.ts";
import { QmpLines } from "../qemu/qmp-lines.ts";
import { parseQmpLine } from "../qemu/qmp-protocol.ts";
import { StreamError } from "../qemu/stream/format.ts";
import { ReturnPathReader } from "../qemu/stream/return-path.ts";
import { pieces, readStream, sample, shortened, VERSIONS, written } from "../qemu/stream/testing.ts";
import { checkScenario } from "../run/scenario-schema.ts";
import {
  frameNumber,
  GENESIS,
  generation,
  type Message,
  type Status,
  SWITCHOVER,
  transactionNumber,
} from "../txsync/core/index.ts";
import { ETHERNET_FRAME_BYTES_MAX, EthernetCutter, encodeEthernet } from "../txsync/device/ethernet-frames.ts";
import type { LogFile } from "../txsync/log/files.ts";
import { LogVersionError } from "../txsync/log/log-format.ts";
import { RecordError } from "../txsync/log/record.ts";
import { RecordParser } from "../txsync/log/record-parser.ts";
import { scan } from "../txsync/log/scan.ts";
import { goOn, logFileOf, NOTHING } from "../txsync/log/testing/sketch.ts";
import { decodePages, decodeRequest, encodePages, encodeRequest, PageFrameError } from "../txsync/pages/page-frames.ts";
import { decodeRecordPiece, encodeRecordPiece } from "../txsync/pages/record-frames.ts";
import { FrameDecoder, FrameEncoder, WireError } from "../txsync/wire/frame.ts";
import { decodeMessage, encodeMessage } from "../txsync/wire/message.ts";
import { mutateValue, textLike } from "./mutate.ts";
import { nbdRequests } from "./nbd.ts";
import { noteFrames, pageRuns } from "./notes.ts";
import { type Answer, catching, type FuzzTarget, isBounded, ofBytes, said, TOOK } from "./target.ts";

function streams(): Buffer[] {
  return VERSIONS.map((version) => shortened(sample(`post-copy-${version}.forward`)));
}

function feedStream(bytes: Buffer): Answer {
  const { error, held_most } = readStream(bytes, { chunks: [1_000, 7, 4_096] });
  isBounded(held_most, bytes.length);
  return error === null ? TOOK : said(error, bytes.length);
}

function returnPath(): Buffer[] {
  const messages = [
    written({ kind: "pong", value: 1 }),
    written({ kind: "request", block: "pc.ram", start: 4096, bytes: 4096 }),
    written({ kind: "request", block: null, start: 8192, bytes: 4096 }),
    written({ kind: "received", block: "pc.ram", pages: Buffer.alloc(16, 3) }),
    written({ kind: "resume-ack", value: 1 }),
    written({ kind: "switchover-ack" }),
    written({ kind: "shut", value: 0 }),
  ];
  return [Buffer.concat(messages), ...messages];
}

function feedReturnPath(bytes: Buffer): Answer {
  const reader = new ReturnPathReader(() => undefined);
  const read = (): void => {
    for (const piece of pieces(bytes, [3, 50])) reader.push(piece);
  };
  return catching([StreamError], read, (error) => said(error, bytes.length));
}

function records(): Buffer[] {
  let model = NOTHING;
  const found: Buffer[] = [];
  for (const [i, frames] of [1, 0, 2].entries()) {
    const next = goOn(model, {
      cumulative: i === 2,
      pages: [
        [0, i, i],
        [1, 1, 0],
      ],
      frames,
    });
    found.push(next.record);
    model = next.model;
  }
  return found;
}

function feedRecord(bytes: Buffer): Answer {
  const parser = new RecordParser();
  const read = (): void => {
    for (const piece of pieces(bytes, [4_000, 1, 300])) for (const _ of parser.push(piece));
    parser.finish();
  };
  return catching([RecordError], read, (error) => said(error, bytes.length));
}

/** A file that is only read. */
function fileOf(bytes: Buffer): LogFile {
  const never = (): Promise<never> => Promise.reject(new Error("this file is only read"));
  return {
    size: () => Promise.resolve(bytes.length),
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
    gather: (places, into) => {
      let at = 0;
      for (const { offset, length } of places) {
        if (offset + length > bytes.length) return Promise.reject(new Error("the file is shorter"));
        at += bytes.copy(into, at, offset, offset + length);
      }
      return Promise.resolve();
    },
    write: never,
    truncate: never,
    sync: never,
    close: () => Promise.resolve(),
  };
}

async function feedLog(bytes: Buffer): Promise<Answer> {
  try {
    const { torn, end } = await scan(fileOf(bytes));
    if (end > bytes.length) throw new Error(`${end} sound bytes of ${bytes.length}`);
    return torn === null ? TOOK : said({ message: torn.why, offset: torn.offset }, bytes.length);
  } catch (error) {
    if (error instanceof LogVersionError) return { took: false, said: error.message };
    throw error;
  }
}

const KEY = Buffer.alloc(32, 7);

function frames(): Buffer[] {
  const encoder = new FrameEncoder();
  encoder.secure(KEY);
  const one = (text: string): Buffer => Buffer.concat(encoder.encode("data", [Buffer.from(text)]));
  const plain = new FrameEncoder();
  return [
    Buffer.concat([one("one"), one("two"), one("x".repeat(3_000))]),
    Buffer.concat(plain.encode("hello", [Buffer.from("a hello")])),
    Buffer.concat([...plain.encode("hello", [Buffer.from("a hello")]), ...plain.encode("auth", [Buffer.alloc(32, 1)])]),
  ];
}

function feedFrames(bytes: Buffer): Answer {
  // A decoder that knows its peer, and one that does not yet.
  const answers = [true, false].map((known) => {
    const decoder = new FrameDecoder();
    if (known) decoder.secure(KEY);
    const read = (): void => {
      for (const piece of pieces(bytes, [5, 2_000, 1])) {
        decoder.push(piece);
        while (decoder.next() !== undefined);
      }
      decoder.end();
    };
    return catching([WireError], read, (error) => said(error, bytes.length));
  });
  return answers.find(({ took }) => took) ?? answers[0] ?? TOOK;
}

function messages(): Buffer[] {
  const header = { generation: generation(1), n: transactionNumber(2), mark: frameNumber(3), acked: frameNumber(1) };
  const log = { last: transactionNumber(1), generation: generation(1), mark: frameNumber(1), acked: frameNumber(0) };
  const status: Status = {
    incarnation: 1,
    at_ms: 2,
    promised: GENESIS,
    opened: GENESIS,
    vm: "none",
    well: false,
    committed: null,
    log,
    storing: null,
    hearsSource: true,
    hearsTarget: false,
    hearsEscrow: true,
    baseComplete: true,
    hasBase: false,
    phase: "idle",
    escrow: null,
  };
  const said: readonly Message[] = [
    { kind: "ask", pre: true, descriptor: GENESIS, attempt: 0 },
    { kind: "append", ...header, since: "base" },
    { kind: "appended", generation: header.generation, n: header.n, status },
    { kind: "append-refused", generation: header.generation, n: header.n, promised: GENESIS, log, why: "gap" },
    { kind: "refuse", pre: false, descriptor: GENESIS, promised: GENESIS, why: "busy" },
    { kind: "cancel", attempt: 12 },
    { kind: "join", attempt: 12 },
  ];
  const body = [Buffer.from("the package")];
  const { mark, acked } = header;
  const whole: Message = { kind: "package", descriptor: SWITCHOVER, n: header.n, mark, acked };
  return [...said.map((message) => Buffer.concat(encodeMessage(message))), Buffer.concat(encodeMessage(whole, body))];
}

function feedMessage(bytes: Buffer): Answer {
  return catching(
    [WireError],
    () => void decodeMessage(bytes),
    (error) => said(error, bytes.length),
  );
}

function dataFrames(): Buffer[] {
  const base = "0011223344556677";
  const full = Buffer.alloc(4096, 9);
  const request = { by: "target", of: "source", base, runs: [{ block: "pc.ram", first: 3, count: 9 }] } as const;
  const piece = { purpose: "append", stream: 4, last: true, bytes: [Buffer.from("bytes of a record")] } as const;
  return [
    encodeRequest(request),
    Buffer.concat(encodePages({ by: "target", base, block: "pc.ram", first: 3, pages: [full, null, full] })),
    Buffer.concat(encodeRecordPiece({ ...piece, meta: { lineage: "ab" } })),
    Buffer.concat(encodeRecordPiece({ ...piece, meta: null })),
  ];
}

/** All of them get every input: who reads it is said by a byte that may be the broken one. */
function feedDataFrame(bytes: Buffer): Answer {
  const answers = [decodeRequest, decodePages, decodeRecordPiece].map((read) =>
    catching(
      [PageFrameError],
      () => void read(bytes),
      ({ message }) => ({ took: false, said: message }),
    ),
  );
  return answers.find(({ took }) => took) ?? answers[0] ?? TOOK;
}

const QMP_LINE_MAX = 10_000;

function qmpLines(): Buffer[] {
  const said = [
    { QMP: { version: { qemu: { major: 10, minor: 0, micro: 2 }, package: "v10" }, capabilities: ["oob"] } },
    { return: { status: "running", running: true }, id: 3 },
    { error: { class: "GenericError", desc: "no" }, id: 4 },
    { timestamp: { seconds: 1, microseconds: 2 }, event: "MIGRATION", data: { status: "postcopy-active" } },
    { timestamp: { seconds: 1, microseconds: 2 }, event: "SHUTDOWN", data: { guest: true, reason: "guest-reset" } },
  ];
  const lines = said.map((one) => Buffer.from(`${JSON.stringify(one)}\r\n`));
  return [Buffer.concat(lines), ...lines];
}

function feedQmp(bytes: Buffer): Answer {
  const lines = new QmpLines(QMP_LINE_MAX);
  let wrong: string | null = null;
  for (const piece of pieces(bytes, [11, 900])) {
    for (const result of lines.push(piece)) {
      if (result.kind !== "line") wrong ??= result.kind;
      else if (parseQmpLine(result.line) === undefined) wrong ??= "not QMP";
    }
    isBounded(lines.unfinished.length, QMP_LINE_MAX + 900);
  }
  return wrong === null ? TOOK : { took: false, said: wrong };
}

function ethernet(): Buffer[] {
  const lengths = [1, 60, 1_514, ETHERNET_FRAME_BYTES_MAX];
  const all = lengths.map((length) => encodeEthernet(Buffer.alloc(length, length)));
  return [Buffer.concat(all.slice(0, 3)), ...all];
}

/** What QEMU's network backend sends, however it is cut into pieces. */
function feedEthernet(bytes: Buffer): Answer {
  const cutter = new EthernetCutter();
  let cut = 0;
  const read = (): void => {
    for (const piece of pieces(bytes, [1, 1_000, 3, 70_000])) {
      for (const frame of cutter.push(piece)) cut += frame.length + 4;
      isBounded(cut, bytes.length);
    }
  };
  const answer = catching([RangeError], read, ({ message }): Answer => ({ took: false, said: message }));
  return answer.took && cut < bytes.length ? { took: false, said: "the last frame is not whole" } : answer;
}

const SCENARIO: FuzzTarget = {
  name: "scenario",
  seeds: SCENARIOS.map((scenario) => JSON.parse(JSON.stringify(scenario)) as unknown),
  mutate: (dice, valid) => mutateValue(dice, valid),
  feed: (input) =>
    catching(
      [UserError],
      () => void checkScenario(input, "this"),
      ({ message }) => ({ took: false, said: message }),
    ),
  show: (input) => JSON.stringify(input),
};

const FAULT: FuzzTarget<string> = {
  name: "fault grammar",
  seeds: SCENARIOS.flatMap(({ faults }) => faults.map((fault, i) => printFault(fault, i))),
  mutate: (dice, valid) => textLike(dice, valid),
  feed: (text) =>
    catching(
      [UserError],
      () => {
        const read = printFault(parseFault(text, 0), 0);
        // What is printed reads back as the same.
        if (printFault(parseFault(read, 0), 0) !== read) throw new Error(`it is read and printed as ${read}`);
      },
      ({ message }) => ({ took: false, said: message }),
    ),
  show: (text) => JSON.stringify(text),
};

/** Every reader of what comes from outside that is fuzzed. */
export function targets(): readonly FuzzTarget<never>[] {
  return [
    ofBytes("migration stream", streams, feedStream),
    ofBytes("return path", returnPath, feedReturnPath),
    ofBytes("record", records, feedRecord),
    ofBytes("log", () => [logFileOf(records()), logFileOf(records().slice(0, 1))], feedLog),
    ofBytes("wire frames", frames, feedFrames),
    ofBytes("messages", messages, feedMessage),
    ofBytes("data frames", dataFrames, feedDataFrame),
    noteFrames(),
    pageRuns(),
    ofBytes("QMP", qmpLines, feedQmp),
    nbdRequests(),
    ofBytes("network frames", ethernet, feedEthernet),
    SCENARIO,
    FAULT,
  ] as unknown as readonly FuzzTarget<never>[];
}
