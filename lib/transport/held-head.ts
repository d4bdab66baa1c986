import type { NodeResponse } from './node-response.js';

/** Where a response whose head is held back keeps it, see {@link HeldHead}. */
const HELD_HEAD = Symbol.for('nestjs-db-context:held-head');

type HeaderValue = string | readonly string[];

/**
 * The head of a response that is held back. The application takes it for sent; the library itself may still
 * add to it, what a commit has brought about (`readYourWrites`).
 */
export class HeldHead {
  readonly #raw: NodeResponse;
  readonly #status: number;
  readonly #message: string | undefined;
  readonly #added = new Map<string, HeaderValue>();
  #given: Record<string, unknown> = {};

  /** @param status the status that the response has as it begins */
  constructor(raw: NodeResponse, status: number) {
    this.#raw = raw;
    this.#status = status;
    this.#message = statusMessageOf(raw);
    Object.defineProperty(raw, HELD_HEAD, { value: this, configurable: true });
  }

  /** The parameters of `writeHead()`. */
  set parameters(parameters: readonly unknown[]) {
    const headers = parameters.at(-1);
    if (typeof headers === 'object' && headers !== null && !Array.isArray(headers)) {
      this.#given = headers as Record<string, unknown>;
    }
  }

  get(name: string): unknown {
    const given = Object.keys(this.#given).find((key) => isSame(key, name));
    return (
      this.#added.get(name.toLowerCase()) ??
      (given === undefined ? this.#raw.getHeader?.(name) : this.#given[given])
    );
  }

  /** Sets a header, in place of its earlier value. */
  set(name: string, value: HeaderValue): void {
    this.#added.set(name.toLowerCase(), value);
  }

  /** Gives the response the head that it had as it began, and what was added to it. */
  restore(): void {
    this.#raw.statusCode = this.#status;
    setStatusMessage(this.#raw, this.#message);
    this.apply();
  }

  /** Gives the response what was added. Its head is no longer held then. */
  apply(): void {
    Reflect.deleteProperty(this.#raw, HELD_HEAD);
    for (const [name, value] of this.#added) {
      this.#raw.setHeader?.(name, value);
    }
  }

  /** The parameters of `writeHead()`, without what was set anew. */
  without(parameters: readonly unknown[]): readonly unknown[] {
    return parameters.map((each) =>
      each === this.#given
        ? Object.fromEntries(
            Object.entries(this.#given).filter(([name]) => !this.#added.has(name.toLowerCase())),
          )
        : each,
    );
  }
}

/** The head of a response, while it is held back. */
export function heldHeadOf(raw: object): HeldHead | undefined {
  return (raw as { readonly [HELD_HEAD]?: HeldHead })[HELD_HEAD];
}

// HTTP/2 has none: its response warns of those who ask.
function statusMessageOf(raw: NodeResponse): string | undefined {
  return raw.stream === undefined ? raw.statusMessage : undefined;
}

/** Sets what HTTP/1 says beside the status; with `undefined`, what the status stands for. */
export function setStatusMessage(raw: NodeResponse, message: string | undefined): void {
  if (raw.stream === undefined) {
    raw.statusMessage = message;
  }
}

function isSame(name: string, other: string): boolean {
  return name.toLowerCase() === other.toLowerCase();
}
