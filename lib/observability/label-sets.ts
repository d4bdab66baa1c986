import { errorTypeOf, type Failure } from './failures.js';
import { ERROR_TYPE, OUTCOME, POOL, type Labels } from './metrics.js';

/** So many different errors are labels of their own; functions of a database may make up any SQLSTATE. */
const MOST_ERROR_TYPES = 100;
/** What the conventions call an error that is none of those which are known. */
const OTHER = '_OTHER';

/** The sets of labels that are in use, one object for each: a transaction makes none. */
export class LabelSets {
  readonly #sets = new Map<string, Labels>();
  readonly #errorTypes = new Set<string>();

  of(pool?: string, outcome?: string, failure?: Failure): Labels {
    const errorType = failure && this.#bounded(errorTypeOf(failure));
    const key = `${pool}\n${outcome}\n${errorType}`;
    const known = this.#sets.get(key);
    if (known !== undefined) {
      return known;
    }
    const labels: Labels = {
      ...(pool !== undefined && { [POOL]: pool }),
      ...(outcome !== undefined && { [OUTCOME]: outcome }),
      ...(errorType !== undefined && { [ERROR_TYPE]: errorType }),
    };
    this.#sets.set(key, labels);
    return labels;
  }

  #bounded(type: string): string {
    if (this.#errorTypes.size < MOST_ERROR_TYPES) {
      this.#errorTypes.add(type);
    }
    return this.#errorTypes.has(type) ? type : OTHER;
  }
}
