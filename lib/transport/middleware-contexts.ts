import type { Context } from '../context/context.js';
import type { ContextRegistry } from '../context/context-registry.js';
import { isOver, type HttpResponse } from './http-exchange.js';

/**
 * The contexts that the middleware opened and no interceptor has taken over yet. Where no interceptor
 * does (a guard refused, there is no such route), the context is rolled back as the response closes (W1).
 *
 * They are kept by response rather than looked up in the current async context: a middleware that loses
 * the async context, or a client that has disconnected, must not make the interceptor open a second one.
 */
export class MiddlewareContexts {
  readonly #unclaimed = new WeakMap<HttpResponse, Context>();

  /** Keeps a context until it is claimed, and rolls it back when the response is closed before that. */
  watch(context: Context, registry: ContextRegistry, response: HttpResponse): void {
    const raw = response.raw ?? response;
    this.#unclaimed.set(raw, context);
    // The context stays claimable: the work of the guards is undone, so the handler must fail rather
    // than work in a new context without it.
    const onClose = (): void => {
      if (this.#unclaimed.has(raw)) {
        void registry.abandon(context, {
          what: 'its response was closed before the handler began',
        });
      }
    };
    if (isOver(raw)) {
      onClose();
    } else {
      raw.once?.('close', onClose);
    }
  }

  /** Whether the middleware has opened a context for this response that is not claimed yet. */
  has(response: HttpResponse | undefined): boolean {
    return response !== undefined && this.#unclaimed.has(response.raw ?? response);
  }

  /** Takes a context over from the middleware; its new owner settles it. */
  claim(response: HttpResponse | undefined): Context | undefined {
    if (response === undefined) {
      return undefined;
    }
    const raw = response.raw ?? response;
    const context = this.#unclaimed.get(raw);
    this.#unclaimed.delete(raw);
    return context;
  }
}
