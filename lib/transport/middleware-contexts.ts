import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import type { HttpResponse } from './http-exchange.js';

/**
 * The contexts that the middleware opened and no interceptor has taken over yet. Where none does (a
 * guard refused, there is no such route), the context is rolled back as the response closes.
 *
 * Kept by response rather than looked up in the current store: a middleware that loses the store,
 * or a client that left in the meantime, must not make the interceptor open a second context.
 */
export class MiddlewareContexts {
  readonly #unclaimed = new WeakMap<HttpResponse, Context>();

  /** Looks after a context until it is claimed. */
  watch(container: Context, host: ContextRegistry, response: HttpResponse): void {
    const raw = response.raw ?? response;
    this.#unclaimed.set(raw, container);
    raw.once?.('close', () => {
      // It stays claimable: what the guards did is undone, so the handler must not go on alone.
      if (this.#unclaimed.has(raw)) {
        void host.abandon(container);
      }
    });
  }

  /** Whether the middleware opened a context that nobody has claimed. */
  has(response: HttpResponse | undefined): boolean {
    return response !== undefined && this.#unclaimed.has(response.raw ?? response);
  }

  /** Takes a context over from the middleware; its new owner settles it. */
  claim(response: HttpResponse | undefined): Context | undefined {
    if (response === undefined) {
      return undefined;
    }
    const raw = response.raw ?? response;
    const container = this.#unclaimed.get(raw);
    this.#unclaimed.delete(raw);
    return container;
  }
}
