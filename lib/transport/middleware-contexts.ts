import type { DbContainer } from '../context/container.js';
import type { ContextHost } from '../context/context-host.js';
import type { HttpResponse } from './http-exchange.js';

/**
 * The contexts that the middleware opened and no interceptor has taken over yet. Where none does (a
 * guard refused, there is no such route), the context is rolled back as the response closes.
 */
export class MiddlewareContexts {
  readonly #unclaimed = new WeakSet<DbContainer>();

  /** Looks after a context until it is claimed. */
  watch(container: DbContainer, host: ContextHost, response: HttpResponse): void {
    this.#unclaimed.add(container);
    (response.raw ?? response).once?.('close', () => {
      if (this.#unclaimed.has(container)) {
        void host.abandon(container);
      }
    });
  }

  /** Takes a context over from the middleware; its new owner settles it. */
  claim(container: DbContainer | undefined): DbContainer | undefined {
    return container !== undefined && this.#unclaimed.delete(container) ? container : undefined;
  }
}
