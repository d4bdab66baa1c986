import { MikroORM, RequestContext, type EntityManager } from '@mikro-orm/core';
import {
  Injectable,
  Module,
  type DynamicModule,
  type MiddlewareConsumer,
  type NestMiddleware,
  type NestModule,
} from '@nestjs/common';

import { openOrm, type Database } from '../orm.js';
import { Unit, type Work } from '../unit.js';

/** The lower bound: a fork for each request, and no transaction but that of a flush. */
class RequestContextUnit extends Unit {
  constructor(private readonly orm: MikroORM) {
    super();
  }

  override manager(): EntityManager {
    return this.orm.em;
  }

  override read<T>(work: Work<T>): Promise<T> {
    return work(this.orm.em);
  }

  override async write<T>(work: Work<T>): Promise<T> {
    const result = await work(this.orm.em);
    await this.orm.em.flush();
    return result;
  }
}

/** What the middleware of `@mikro-orm/nestjs` does. */
@Injectable()
class ForkMiddleware implements NestMiddleware {
  constructor(private readonly orm: MikroORM) {}

  use(_request: unknown, _response: unknown, next: () => void): void {
    RequestContext.create(this.orm.em, next);
  }
}

@Module({})
export class RequestContextModule implements NestModule {
  static register(database: Database): DynamicModule {
    return {
      module: RequestContextModule,
      providers: [
        { provide: MikroORM, useFactory: () => openOrm(database) },
        {
          provide: Unit,
          useFactory: (orm: MikroORM) => new RequestContextUnit(orm),
          inject: [MikroORM],
        },
      ],
      exports: [Unit],
    };
  }

  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(ForkMiddleware).forRoutes('{*path}');
  }
}
