// What each decorator may be applied to, and what it may not; nothing here runs.
import type { EntityRepository } from '@mikro-orm/core';
import { EntityManager } from '@mikro-orm/postgresql';
import { Controller, Get, Injectable } from '@nestjs/common';
import { expectTypeOf } from 'expect-type';
import {
  Atomic,
  CommitOn,
  DbConnection,
  DbTransaction,
  FlushOn,
  InjectConnection,
  InjectRepository,
  InjectSession,
  NewDbContext,
  RetryOnSerializationFailure,
  SkipDbContext,
  UseAfterCommit,
  WithDbContext,
} from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

@Injectable()
export class AsyncMethods {
  @WithDbContext()
  async nothing(): Promise<void> {}

  @Atomic()
  async several(id: number, ...rest: string[]): Promise<string> {
    return `${id}${rest.join('')}`;
  }

  @Atomic({ connection: 'audit', current: 'raise', isolationLevel: 'serializable' })
  promised(): Promise<number> {
    return Promise.resolve(1);
  }

  @NewDbContext()
  protected async hidden(): Promise<void> {}

  @NewDbContext()
  async generic<T>(value: T): Promise<T> {
    return value;
  }
}

export function keepsItsSignature(methods: AsyncMethods): void {
  expectTypeOf(methods.nothing()).toEqualTypeOf<Promise<void>>();
  expectTypeOf<AsyncMethods['several']>().toEqualTypeOf<
    (id: number, ...rest: string[]) => Promise<string>
  >();
}

@WithDbContext()
@Injectable()
export class OfClass {
  constructor(readonly session: EntityManager) {}

  async process(): Promise<void> {}
}

@Injectable()
export class Refused {
  // @ts-expect-error -- Nest makes no instance of a class that could be given what it needs
  @Atomic()
  static async ofClass(): Promise<void> {}

  // @ts-expect-error -- returns no promise, so its end could not be awaited
  @Atomic()
  sync(): number {
    return 1;
  }

  // @ts-expect-error -- as above
  @WithDbContext()
  syncVoid(): void {}

  // @ts-expect-error -- as above
  @NewDbContext()
  *generator(): Generator<number> {
    yield 1;
  }

  // @ts-expect-error -- a property is no method
  @Atomic()
  property = async (): Promise<void> => undefined;

  // @ts-expect-error -- an accessor is no method
  @Atomic()
  get accessor(): Promise<void> {
    return Promise.resolve();
  }

  // @ts-expect-error -- options, not the bare name of a connection
  @Atomic('audit')
  async bareName(): Promise<void> {}

  // @ts-expect-error -- an unknown mode
  @Atomic({ current: 'join' })
  async unknownMode(): Promise<void> {}

  // @ts-expect-error -- the decorator is what the call returns
  @WithDbContext
  async notCalled(): Promise<void> {}
}

// @ts-expect-error -- for methods, not for the class
@Atomic()
export class RefusedClass {}

@Injectable()
export class Injected {
  @InjectSession('audit')
  readonly audit!: EntityManager;

  @InjectConnection()
  readonly connection!: DbConnection;

  constructor(
    @InjectSession() readonly session: EntityManager,
    @InjectRepository(Note) readonly notes: EntityRepository<Note>,
    @InjectRepository(Note, 'audit') readonly auditNotes: EntityRepository<Note>,
    @InjectConnection('audit') readonly auditConnection: DbConnection,
  ) {}

  // @ts-expect-error -- a name
  @InjectSession({ name: 'audit' })
  readonly byOptions!: EntityManager;

  // @ts-expect-error -- the entity, not its name
  @InjectRepository('Note')
  readonly byName!: EntityRepository<Note>;

  // @ts-expect-error -- of which entity?
  @InjectRepository()
  readonly ofNothing!: EntityRepository<Note>;
}

@SkipDbContext()
@RetryOnSerializationFailure({ attempts: 3 })
@CommitOn(({ failed, status }) => !failed || status === 401)
@DbTransaction({ readOnly: true })
@DbTransaction({ connection: 'audit', isolationLevel: 'repeatable read' })
@Controller()
export class Routes {
  @SkipDbContext()
  @Get('skipped')
  skipped(): void {}

  @CommitOn((outcome) => {
    expectTypeOf(outcome.status).toEqualTypeOf<number | undefined>();
    expectTypeOf(outcome.error).toEqualTypeOf<unknown>();
    return !outcome.failed;
  })
  @DbTransaction({ statementTimeoutMs: 60_000 })
  @RetryOnSerializationFailure({ attempts: 3, backoffMs: 0 })
  @Get('sync')
  sync(): string {
    return '';
  }

  // @ts-expect-error -- decided before the response leaves, so it cannot be awaited
  @CommitOn(async () => true)
  asyncPolicy(): void {}

  // @ts-expect-error -- a policy
  @CommitOn(401)
  statusOnly(): void {}

  // @ts-expect-error -- settings
  @DbTransaction()
  noSettings(): void {}

  // @ts-expect-error -- the mode is that of an atomic block
  @DbTransaction({ current: 'savepoint' })
  unknownSetting(): void {}

  // @ts-expect-error -- how often is no matter for a default
  @RetryOnSerializationFailure()
  noAttempts(): void {}

  // @ts-expect-error -- options
  @RetryOnSerializationFailure(3)
  bareNumber(): void {}

  // @ts-expect-error -- a route is a method
  @DbTransaction({ readOnly: true })
  readonly property = 1;
}

@FlushOn('commit')
@UseAfterCommit({ intercept: (_context, next) => next.handle() })
@Controller()
export class AroundTheContext {
  @FlushOn('handler')
  @UseAfterCommit()
  @Get()
  get(): void {}

  // @ts-expect-error -- there is no such time
  @FlushOn('never')
  // @ts-expect-error -- a class that has no method intercept()
  @UseAfterCommit(AsyncMethods)
  other(): void {}
}
