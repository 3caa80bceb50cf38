import type { Socket } from "node:net";
import type {
  ClientFound,
  HistoryClient,
  HistoryClientInRun,
  Operation,
} from "../../harness/run/custom/history-client.ts";
import type { Reach } from "../../harness/run/net/reach.ts";

/** Where the Debian guest's database answers (fixtures/guests/debian/customize.sh): a sqlite3 for each connection. */
const PORT = 7777;
/** The database may be busy with what an earlier connection began. */
const BEGIN = ".timeout 10000\ncreate table if not exists ledger(n integer primary key, value text not null);\n";
const END = "that is all";

/** One connection: what is sent is SQL, what comes back are rows, a line each. */
class Connection {
  readonly #socket: Socket;
  #text = "";
  #lines: string[] = [];
  #waiting: { readonly until: (line: string) => boolean; done(lines: string[]): void } | undefined;
  readonly #gone: Promise<never>;
  gone = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#gone = new Promise((_, reject) => {
      socket.once("close", () => {
        this.gone = true;
        reject(new Error("the connection ended"));
      });
    });
    this.#gone.catch(() => undefined);
    socket.on("data", (bytes: Buffer) => {
      this.#text += bytes.toString("utf8");
      const lines = this.#text.split("\n");
      this.#text = lines.pop() ?? "";
      for (const line of lines) this.#heard(line.trimEnd());
    });
    socket.write(BEGIN);
  }

  #heard(line: string): void {
    this.#lines.push(line);
    const waiting = this.#waiting;
    if (waiting === undefined || !waiting.until(line)) return;
    this.#waiting = undefined;
    waiting.done(this.#lines.splice(0));
  }

  /** @returns all lines up to the one that is waited for */
  async ask(sql: string, until: (line: string) => boolean): Promise<readonly string[]> {
    const answered = new Promise<string[]>((done) => {
      this.#waiting = { until, done };
    });
    this.#socket.write(sql);
    return await Promise.race([answered, this.#gone]);
  }

  close(): void {
    this.#socket.destroy();
  }
}

class SqlClientInRun implements HistoryClientInRun {
  readonly #vm: Reach;
  readonly #seed: number;
  #connection: Connection | undefined;

  constructor(vm: Reach, seed: number) {
    this.#vm = vm;
    this.#seed = seed;
  }

  #value(n: number): string {
    return `${this.#seed}-${n}`;
  }

  async #connected(): Promise<Connection> {
    if (this.#connection?.gone === false) return this.#connection;
    this.#connection = new Connection(await this.#vm.dial(PORT));
    return this.#connection;
  }

  /** A transaction of its own. That it is there is asked after it was committed: an insert that failed is not. */
  async invoke(n: number): Promise<undefined> {
    const connection = await this.#connected();
    const insert = `insert into ledger values(${n}, '${this.#value(n)}');\n`;
    const lines = await connection.ask(`${insert}select 'done', ${n}, count(*) from ledger where n = ${n};\n`, (line) =>
      line.startsWith(`done|${n}|`),
    );
    if (lines.at(-1) !== `done|${n}|1`) throw new Error(`the database said: ${lines.join(" / ")}`);
    return undefined;
  }

  async check(history: readonly Operation[]): Promise<ClientFound> {
    const connection = new Connection(await this.#vm.dial(PORT));
    try {
      const all = (line: string): boolean => line === END;
      const sound = await connection.ask(`pragma integrity_check;\nselect '${END}';\n`, all);
      if (sound[0] !== "ok") return { whole: false, summary: `the database is not sound: ${sound.join(" / ")}` };
      const lines = await connection.ask(`select n, value from ledger order by n;\nselect '${END}';\n`, all);
      const rows = new Map(
        lines.slice(0, -1).map((line) => [Number(line.split("|")[0]), line.slice(line.indexOf("|") + 1)]),
      );
      return this.#judged(history, rows);
    } finally {
      connection.close();
    }
  }

  #judged(history: readonly Operation[], rows: ReadonlyMap<number, string>): ClientFound {
    const missing = history.filter(({ n, outcome }) => outcome === "acknowledged" && rows.get(n) !== this.#value(n));
    const [first] = missing;
    if (first !== undefined) {
      const found = rows.get(first.n) ?? "nothing";
      const summary = `${missing.length} acknowledged transactions are not there; the first is ${first.n}: found ${found}`;
      return { whole: false, summary };
    }
    const invoked = new Set(history.map(({ n }) => n));
    const strange = [...rows.keys()].find((n) => !invoked.has(n));
    if (strange !== undefined)
      return { whole: false, summary: `row ${strange} is there, and nobody ever asked for it` };
    return {
      whole: true,
      summary: `the database is sound and has every acknowledged transaction, ${rows.size} in all`,
    };
  }

  close(): void {
    this.#connection?.close();
  }
}

/** Commits one transaction after the other to the Debian guest's database, and looks in the end whether all are there. */
export const sqlClient: HistoryClient = {
  name: "sql",
  start: (vm, { seed }) => new SqlClientInRun(vm, seed),
};
