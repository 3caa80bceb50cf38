/** Events in the order of simulated time; equal times in the order in which they were put in. A binary heap. */
export class EventQueue {
  readonly #times: number[] = [];
  readonly #orders: number[] = [];
  readonly #runs: (() => void)[] = [];
  #order = 0;

  get size(): number {
    return this.#times.length;
  }

  /** A place among what comes at the same time, for one that is put in again later. */
  place(): number {
    const order = this.#order;
    this.#order += 1;
    return order;
  }

  push(time_ms: number, run: () => void, order = this.place()): void {
    let i = this.#times.length;
    this.#times.push(time_ms);
    this.#orders.push(order);
    this.#runs.push(run);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  nextTime(): number {
    return this.#times[0] ?? Number.POSITIVE_INFINITY;
  }

  pop(): () => void {
    const first = this.#runs[0];
    if (first === undefined) throw new Error("the queue is empty");
    const last = this.#times.length - 1;
    this.#swap(0, last);
    this.#times.pop();
    this.#orders.pop();
    this.#runs.pop();
    let i = 0;
    for (;;) {
      const left = 2 * i + 1;
      const right = left + 1;
      let least = i;
      if (left < last && this.#before(left, least)) least = left;
      if (right < last && this.#before(right, least)) least = right;
      if (least === i) break;
      this.#swap(i, least);
      i = least;
    }
    return first;
  }

  #before(i: number, j: number): boolean {
    const a = this.#times[i] ?? 0;
    const b = this.#times[j] ?? 0;
    return a < b || (a === b && (this.#orders[i] ?? 0) < (this.#orders[j] ?? 0));
  }

  #swap(i: number, j: number): void {
    swap(this.#times, i, j);
    swap(this.#orders, i, j);
    swap(this.#runs, i, j);
  }
}

function swap<T>(list: T[], i: number, j: number): void {
  const a = list[i] as T;
  list[i] = list[j] as T;
  list[j] = a;
}
