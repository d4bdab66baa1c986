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

import { NoDatabaseModule } from './no-database.js';

@Injectable()
class BareInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    return next.handle();
  }
}

/** No database either, but an interceptor that does nothing: what Nest itself takes for having one. */
@Module({})
export class BareInterceptorModule {
  static register(): DynamicModule {
    return {
      module: BareInterceptorModule,
      imports: [NoDatabaseModule.register()],
      providers: [{ provide: APP_INTERCEPTOR, useClass: BareInterceptor }],
      exports: [NoDatabaseModule],
    };
  }
}
