import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { tap, type Observable } from 'rxjs';

import { ContextRegistry } from '../context/context-registry.js';
import { errorInfoOf } from '../telemetry/error-info.js';
import { INSPECTOR_SETTINGS, type InspectorSettings } from './inspector-options.js';
import { RecordLookup } from './record-lookup.js';
import type { RequestRecord } from './request-record.js';
import { routeOf } from './route-of.js';
import { knownWithoutOthersWords } from './shown-error.js';

/** Notes what handlers throw, which is why their requests are rolled back, and which route it was. */
@Injectable()
export class HandlerErrorsInterceptor implements NestInterceptor {
  readonly #lookup: RecordLookup;
  readonly #registry: ContextRegistry;
  readonly #showValues: boolean;

  constructor(
    lookup: RecordLookup,
    registry: ContextRegistry,
    @Inject(INSPECTOR_SETTINGS) { showValues }: InspectorSettings,
  ) {
    this.#lookup = lookup;
    this.#registry = registry;
    this.#showValues = showValues;
  }

  intercept(executionContext: ExecutionContext, next: CallHandler): Observable<unknown> {
    const record =
      this.#lookup.of(this.#registry.active()?.telemetry)?.record ?? this.#lookup.current();
    if (record === undefined) {
      return next.handle();
    }
    if (executionContext.getType() === 'http') {
      record.route = routeOf(executionContext.switchToHttp().getRequest());
    }
    return next.handle().pipe(tap({ error: (error: unknown) => this.#failed(record, error) }));
  }

  #failed(record: RequestRecord, error: unknown): void {
    record.handlerError = this.#showValues
      ? errorInfoOf(error)
      : knownWithoutOthersWords(error, record.serverMessages);
  }
}
