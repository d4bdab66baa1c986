import {
  Injectable,
  Module,
  type CallHandler,
  type DynamicModule,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import type { Observable } from 'rxjs';

@Injectable()
class BareInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

/** Another candidate with an interceptor that does nothing, for the time that Nest itself takes for one. */
@Module({})
export class BareInterceptorModule {
  static register(candidate: DynamicModule): DynamicModule {
    return {
      module: BareInterceptorModule,
      imports: [candidate],
      providers: [{ provide: APP_INTERCEPTOR, useClass: BareInterceptor }],
      exports: [candidate.module],
    };
  }
}
