import { MikroOrmModule } from '@mikro-orm/nestjs';
import { defineConfig } from '@mikro-orm/postgresql';
import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

import { Booking } from './booking.entity.js';
import { Guest } from './guest.entity.js';
import { AnsweredLibraryController } from './programs/answered.library.js';
import { AnsweredPlainController } from './programs/answered.plain.js';
import { LateLibraryController } from './programs/late.library.js';
import { LatePlainController } from './programs/late.plain.js';
import { SwallowedLibraryController } from './programs/swallowed.library.js';
import { SwallowedPlainController } from './programs/swallowed.plain.js';
import { UnflushedLibraryController } from './programs/unflushed.library.js';
import { UnflushedPlainController } from './programs/unflushed.plain.js';
import { Registry } from './registry.js';

/** The request that a program is sent. */
export interface Sent {
  readonly method: 'POST' | 'PATCH';
  readonly path: string;
  readonly body: object;
}

/** One way to write a case. */
export interface Program {
  /** Name of its file below `programs`. */
  readonly name: string;
  readonly module: DynamicModule;
  readonly controller: Type;
  readonly sent: Sent;
}

const CASES: readonly {
  readonly name: string;
  readonly plain: Type;
  readonly library: Type;
  readonly sent: Sent;
}[] = [
  {
    name: 'swallowed',
    plain: SwallowedPlainController,
    library: SwallowedLibraryController,
    sent: { method: 'POST', path: '/bookings', body: { seat: '12A', name: 'Ada' } },
  },
  {
    name: 'late',
    plain: LatePlainController,
    library: LateLibraryController,
    sent: { method: 'POST', path: '/bookings', body: { seat: '12A', name: 'Grace' } },
  },
  {
    name: 'answered',
    plain: AnsweredPlainController,
    library: AnsweredLibraryController,
    sent: { method: 'POST', path: '/bookings', body: { seat: '1A' } },
  },
  {
    name: 'unflushed',
    plain: UnflushedPlainController,
    library: UnflushedLibraryController,
    sent: { method: 'PATCH', path: '/bookings/1', body: { seat: '12A' } },
  },
];

@Module({})
class ProgramModule {}

/**
 * All programs: each case on `@mikro-orm/nestjs`, then with the library.
 *
 * @param clientUrl their database
 */
export function programsOn(clientUrl: string): readonly Program[] {
  const options = { ...defineConfig({ clientUrl, entities: [Booking, Guest] }) };
  return CASES.flatMap(({ name, plain, library, sent }) => [
    {
      name: `${name}.plain`,
      module: moduleOf(MikroOrmModule.forRoot(options), plain),
      controller: plain,
      sent,
    },
    {
      name: `${name}.library`,
      module: moduleOf(DbContextModule.forRoot({ connections: [options] }), library),
      controller: library,
      sent,
    },
  ]);
}

function moduleOf(
  database: DynamicModule | Promise<DynamicModule>,
  controller: Type,
): DynamicModule {
  return {
    // A class for each, as Nest knows modules by theirs.
    module: class extends ProgramModule {},
    imports: [database],
    controllers: [controller],
    providers: [Registry],
  };
}
