import {
  Module,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';

/** Does nothing. */
class BareMiddleware implements NestMiddleware {
  use(_request: unknown, _response: unknown, next: () => void): void {
    next();
  }
}

/** An application with a middleware on all routes, which does nothing: what Nest itself takes for having one. */
@Module({})
export class BareMiddlewareModule implements NestModule {
  static register(inner: DynamicModule): DynamicModule {
    return { module: BareMiddlewareModule, imports: [inner], exports: [inner.module] };
  }

  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(BareMiddleware).forRoutes('{*path}');
  }
}
