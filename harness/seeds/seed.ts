/**
 * A bug that is put into the system that ships, by its name and in a build of its own: a place in a source file, and what
 * stands there instead. What ships has no switch for it and no word of it: the source is changed as it is bundled.
 */
export interface Seed {
  readonly name: string;
  /** What is wrong with such a system. */
  readonly what: string;
  /** From the project's root. */
  readonly file: string;
  /** Stands there exactly once; the white space at the ends of lines counts. */
  readonly is: string;
  readonly becomes: string;
  /**
   * Who has to find it. `core`: the search and the simulator, with nothing but the core changed. Else unit tests by their
   * paths: those that drive the changed part with a model beside it.
   */
  readonly by: "core" | readonly string[];
}

/** The source with the bug in it. @throws Error when the place is not there once: the seed has to follow the code */
export function planted(seed: Seed, source: string): string {
  const [before, after, ...more] = source.split(seed.is);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`seed ${seed.name}: its place stands ${source.split(seed.is).length - 1} times in ${seed.file}`);
  }
  return `${before}${seed.becomes}${after}`;
}
