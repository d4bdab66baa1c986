import { errorTypeOf, type Failure } from './failures.js';
import { ERROR_TYPE, OUTCOME, POOL, type Labels } from './metrics.js';

/** What the server itself says of faults that are to be seen, however many others have come before. */
const KNOWN_ERROR_TYPES = new Set(
  (
    '08000 08001 08003 08006 22001 22P02 23502 23503 23505 23514 23P01 25006 25P02 25P03 25P04 40001 40P01 ' +
    '42501 53100 53200 53300 53400 55P03 57014 57P01 57P02 57P03 57P05'
  ).split(' '),
);

/** So many different errors are labels of their own; functions of a database may make up any SQLSTATE. */
const MOST_ERROR_TYPES = 100;
/** What the conventions call an error that is none of those which are known. */
const OTHER = '_OTHER';

/** The sets of labels that are in use, one object for each: a transaction makes none. */
export class LabelSets {
  /** By the name of their pool, which most have. */
  readonly #sets = new Map<string | undefined, Map<string, Labels>>();
  readonly #errorTypes = new Set<string>();

  of(pool?: string, outcome?: string, failure?: Failure): Labels {
    const errorType = failure && this.#bounded(errorTypeOf(failure));
    const sets = this.#sets.get(pool) ?? new Map<string, Labels>();
    const key = `${outcome}\n${errorType}`;
    const known = sets.get(key);
    if (known !== undefined) {
      return known;
    }
    const labels: Labels = {
      ...(pool !== undefined && { [POOL]: pool }),
      ...(outcome !== undefined && { [OUTCOME]: outcome }),
      ...(errorType !== undefined && { [ERROR_TYPE]: errorType }),
    };
    this.#sets.set(pool, sets.set(key, labels));
    return labels;
  }

  /** A pool is not used any more. */
  forget(pool: string): void {
    this.#sets.delete(pool);
  }

  #bounded(type: string): string {
    if (KNOWN_ERROR_TYPES.has(type)) {
      return type;
    }
    if (this.#errorTypes.size < MOST_ERROR_TYPES) {
      this.#errorTypes.add(type);
    }
    return this.#errorTypes.has(type) ? type : OTHER;
  }
}
