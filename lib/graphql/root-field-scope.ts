import { Injectable } from '@nestjs/common';

import type { ContextRegistry } from '../context/context-registry.js';
import type { OperationError } from '../options/context-options.js';
import { DEFAULTS } from '../options/defaults.js';
import { mayHaveWritten } from '../transport/written-work.js';
import { answerBeside, shownAnswer, type Answer, type FormatError } from './answer.js';
import { fieldsOf, markFields } from './field-contexts.js';
import { HttpExchanges } from './http-exchanges.js';
import { GraphQLOperation } from './operation.js';
import { OperationContexts } from './operation-contexts.js';
import { outcomeOf } from './operation-outcome.js';
import { settingsBeside } from './operation-settings.js';
import { ResolverRoutes } from './resolver-routes.js';
import type { OperationShape } from './root-fields.js';
import { markSkippedFields, SkippedFields } from './skipped-fields.js';

/** An operation that a server is about to answer. */
interface ExecutedOperation {
  readonly kind: OperationShape['kind'];
  readonly answer: Answer;
  /** Its errors before a server has formatted them. */
  readonly errors: readonly OperationError[];
}

/**
 * Operations whose root fields have contexts of their own (`scope: 'root-field'`). Beside
 * `mount: 'middleware'` the guards and field resolvers of each operation share a further one. It is that of the
 * request for the first operation, and a new one for each other of a batch, so that none is rolled back for the
 * errors of another (F4).
 */
@Injectable()
export class RootFieldScope {
  readonly #registry: ContextRegistry;
  readonly #contexts: OperationContexts;
  readonly #routes: ResolverRoutes;
  readonly #exchanges: HttpExchanges;

  constructor(contexts: OperationContexts, routes: ResolverRoutes, exchanges: HttpExchanges) {
    this.#registry = contexts.registry;
    this.#contexts = contexts;
    this.#routes = routes;
    this.#exchanges = exchanges;
  }

  /**
   * An operation is about to be executed.
   *
   * @throws ServiceUnavailableException the application is shutting down
   */
  begin(contextValue: object, shape: OperationShape): void {
    const settings = settingsBeside(
      shape,
      this.#routes,
      this.#contexts.options.commitOn ?? DEFAULTS.commitOn,
    );
    markSkippedFields(contextValue, new SkippedFields(this.#registry, settings.skipped));
    const exchange = this.#exchanges.of(contextValue);
    if (settings.isSkipped || !this.#contexts.hasMiddleware(exchange)) {
      return;
    }
    const context = this.#contexts.openBeside(shape.name, exchange);
    const fields = new GraphQLOperation(this.#registry, context, settings, this.#contexts.log);
    markFields(contextValue, fields);
    this.#contexts.watchDisconnect(fields, exchange);
  }

  /**
   * An operation has been executed, or refused: the context of its guards and field resolvers is settled by its
   * errors (S2), before the answer leaves.
   *
   * @returns the answer as its client may read it
   */
  async answered(
    contextValue: object,
    { kind, answer, errors }: ExecutedOperation,
    format: FormatError,
  ): Promise<Answer> {
    const fields = fieldsOf(contextValue);
    if (fields === undefined) {
      if (errors.length > 0) {
        this.#contexts.fail(this.#exchanges.of(contextValue), outcomeOf(errors));
      }
      return shownAnswer(answer);
    }
    if (fields.hasEnded) {
      return shownAnswer(answer);
    }
    const { origin, sessions } = fields.context;
    const hasWritten = sessions.some(mayHaveWritten);
    const end = await fields.settle(errors);
    if (end.kind === 'failed') {
      this.#registry.report(
        `guards and field resolvers of ${origin} could not be committed`,
        end.error,
      );
    } else if (end.kind === 'rolled-back' && hasWritten) {
      this.#contexts.log.workDropped(
        `guards and field resolvers of ${origin}`,
        'fields-rolled-back',
      );
    }
    return answerBeside(answer, end, kind, format);
  }

  /** Rolls back what guards and field resolvers have done, where nobody gets the answer. */
  abandon(contextValue: object): void {
    fieldsOf(contextValue)?.abandon();
  }
}
