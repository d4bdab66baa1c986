/** A change of one line that keeps a promise, and the tests that have to notice it. */
export interface Mutation {
  /** The promise that the line keeps, as in docs/design.md: `F3`. */
  readonly id: string;
  /** What is broken, in one plain sentence. */
  readonly what: string;
  /** The file, from the top of the repository. */
  readonly file: string;
  /** A text that occurs in the file exactly once. */
  readonly find: string;
  /** What stands there instead. */
  readonly replace: string;
  /** Pattern of the paths of the specs of which a test must fail. */
  readonly spec: string;
  /** Pattern of the names of the tests to be run; all of the specs if omitted. */
  readonly test?: string;
}

/** A promise that no code keeps in full yet. */
export interface PendingPromise {
  readonly id: string;
  /** The issue that it is work of. */
  readonly issue: number;
  readonly what: string;
}

/**
 * The text of the file with the mutation in it.
 *
 * @throws Error the text to be replaced is not there exactly once: the list is behind the code
 */
export function mutated({ id, file, find, replace }: Mutation, text: string): string {
  const [before, after, ...more] = text.split(find);
  if (before === undefined || after === undefined || more.length > 0) {
    const count = text.split(find).length - 1;
    throw new Error(`${id}: the text to be replaced occurs ${count} times in ${file}: ${find}`);
  }
  return `${before}${replace}${after}`;
}
