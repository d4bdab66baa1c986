// What `nestjs-db-context/event-emitter` and `nestjs-db-context/cqrs` accept; nothing here runs.
import { Injectable, Module } from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import { DbContextCqrsModule } from 'nestjs-db-context/cqrs';
import { OnCommitted } from 'nestjs-db-context/event-emitter';

declare const CREATED: unique symbol;

declare class OrderCreated {
  readonly id: number;
}

@Injectable()
export class Listeners {
  @OnCommitted('order.created')
  async asynchronous(order: OrderCreated): Promise<void> {
    await Promise.resolve(order.id);
  }

  @OnCommitted(CREATED)
  synchronous(): void {}

  @OnCommitted(['order', 'created'], { connection: 'audit', suppressErrors: false })
  @OnCommitted(['order', 'changed'], { connection: 'audit' })
  several(id: number, ...rest: readonly string[]): void {
    expectTypeOf(id).toEqualTypeOf<number>();
    expectTypeOf(rest).toEqualTypeOf<readonly string[]>();
  }

  // @ts-expect-error -- nobody gets what it returns
  @OnCommitted('order.created')
  result(): number {
    return 1;
  }

  // @ts-expect-error -- nor what it resolves to
  @OnCommitted('order.created')
  async promisedResult(): Promise<number> {
    return 1;
  }

  // @ts-expect-error -- a property is no method
  @OnCommitted('order.created')
  property = (): void => undefined;

  // @ts-expect-error -- of which event?
  @OnCommitted()
  noEvent(): void {}

  // @ts-expect-error -- options, not the bare name of a connection
  @OnCommitted('order.created', 'audit')
  bareName(): void {}
}

@Module({ imports: [DbContextCqrsModule] })
export class WithCqrs {}
