import {
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { tap, type Observable } from 'rxjs';

import { ContextRegistry } from '../context/context-registry.js';
import { Inspector } from './inspector.js';
import { routeOf } from './route-of.js';

/** Notes what handlers throw, which is why their requests are rolled back, and which route it was. */
@Injectable()
export class HandlerErrorsInterceptor implements NestInterceptor {
  readonly #inspector: Inspector;
  readonly #registry: ContextRegistry;

  constructor(inspector: Inspector, registry: ContextRegistry) {
    this.#inspector = inspector;
    this.#registry = registry;
  }

  intercept(executionContext: ExecutionContext, next: CallHandler): Observable<unknown> {
    const { lookup } = this.#inspector;
    const record = lookup.of(this.#registry.active()?.telemetry)?.record ?? lookup.current();
    if (record === undefined) {
      return next.handle();
    }
    if (executionContext.getType() === 'http') {
      record.route = routeOf(executionContext.switchToHttp().getRequest<object>());
    }
    const failed = (error: unknown): void => this.#inspector.handlerFailed(record, error);
    return next.handle().pipe(tap({ error: failed }));
  }
}
