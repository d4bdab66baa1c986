import { Injectable } from '@nestjs/common';

import type { OperationError } from '../options/context-options.js';
import { shownAnswer, type Answer } from './answer.js';
import { HttpExchanges } from './http-exchanges.js';
import { OperationContexts } from './operation-contexts.js';
import { outcomeOf } from './operation-outcome.js';
import { skippedKeys } from './operation-settings.js';
import { ResolverRoutes } from './resolver-routes.js';
import type { OperationShape } from './root-fields.js';
import { markSkippedFields, SkippedFields } from './skipped-fields.js';

/**
 * Operations whose root fields have contexts of their own (`scope: 'root-field'`). Beside
 * `mount: 'middleware'` their guards and field resolvers work in the context of the request.
 */
@Injectable()
export class RootFieldScope {
  readonly #contexts: OperationContexts;
  readonly #routes: ResolverRoutes;
  readonly #exchanges: HttpExchanges;

  constructor(contexts: OperationContexts, routes: ResolverRoutes, exchanges: HttpExchanges) {
    this.#contexts = contexts;
    this.#routes = routes;
    this.#exchanges = exchanges;
  }

  /** An operation is about to be executed. */
  begin(contextValue: object, shape: OperationShape): void {
    const skipped = skippedKeys(shape, this.#routes);
    markSkippedFields(contextValue, new SkippedFields(this.#contexts.registry, skipped));
  }

  /**
   * An operation has been executed: with errors, the context of its request is settled as that of a failure
   * (S2), although the status of the answer is a success.
   *
   * @param errors before a server has formatted them
   * @returns the answer as its client may read it
   */
  answered(contextValue: object, answer: Answer, errors: readonly OperationError[]): Answer {
    if (errors.length > 0) {
      this.#contexts.fail(this.#exchanges.of(contextValue), outcomeOf(errors));
    }
    return shownAnswer(answer);
  }
}
