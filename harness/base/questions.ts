interface Asked {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
}

/** What another thread was asked, by numbers that go with the questions, until it is answered. */
export class Questions {
  readonly #asked = new Map<number, Asked>();
  #last = 0;

  /**
   * @param send puts it to the other thread, with its number
   * @returns settles with its answer. Both ends are of one build: what was asked tells the type
   */
  ask<T>(send: (id: number) => void): Promise<T> {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      send(id);
    });
  }

  answered(id: number, value: unknown): void {
    this.#take(id)?.resolve(value as never);
  }

  failed(id: number, error: Error): void {
    this.#take(id)?.reject(error);
  }

  #take(id: number): Asked | undefined {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    return asked;
  }
}
