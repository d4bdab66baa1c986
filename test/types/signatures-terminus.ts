// What `nestjs-db-context/terminus` accepts; nothing here runs.
import { Module } from '@nestjs/common';
import { TerminusModule, type HealthCheckService } from '@nestjs/terminus';
import { expectTypeOf } from 'expect-type';
import {
  DbContextHealthIndicator,
  type DbContextHealth,
  type DbContextPingCheckOptions,
} from 'nestjs-db-context/terminus';

@Module({ imports: [TerminusModule], providers: [DbContextHealthIndicator] })
export class HealthModule {}

export async function indicator(
  health: HealthCheckService,
  db: DbContextHealthIndicator,
): Promise<void> {
  const { database } = await db.pingCheck('database');
  expectTypeOf(database.status).toEqualTypeOf<'up' | 'down'>();
  expectTypeOf(database.message).toEqualTypeOf<string | undefined>();
  expectTypeOf(database).toExtend<DbContextHealth>();
  // Two of them come from a type that is not exported, so that the report of the API lacks them.
  expectTypeOf<DbContextPingCheckOptions>().branded.toEqualTypeOf<{
    readonly connection?: string;
    readonly timeoutMs?: number;
    readonly maxWaiting?: number;
    readonly maxLagMs?: number;
  }>();

  const result = await health.check([
    () => db.pingCheck('database', { connection: 'audit', maxWaiting: 20 }),
    () => db.pingCheck('replicas', { maxLagMs: 5_000, timeoutMs: 500 }),
  ]);
  expectTypeOf(result.details.database.status).toEqualTypeOf<'up' | 'down'>();

  // @ts-expect-error -- under which key?
  void db.pingCheck();
  // @ts-expect-error -- options, not the bare name of a connection
  void db.pingCheck('database', 'audit');
  // @ts-expect-error -- the unit is in the name
  void db.pingCheck('database', { timeout: 500 });
}
