// The code of docs/health.md; tsc checks it here, and a spec checks that it is the same.
import { Controller, Get, Injectable, Module } from '@nestjs/common';
import { HealthCheck, HealthCheckService, TerminusModule } from '@nestjs/terminus';
import { DbConnection, InjectConnection } from 'nestjs-db-context';
import { DbContextHealthIndicator } from 'nestjs-db-context/terminus';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly database: DbContextHealthIndicator,
  ) {}

  @Get()
  @HealthCheck()
  check() {
    return this.health.check([
      () => this.database.pingCheck('database', { maxWaiting: 50 }),
      () => this.database.pingCheck('audit', { connection: 'audit', timeoutMs: 500 }),
    ]);
  }
}

@Module({
  imports: [TerminusModule],
  controllers: [HealthController],
  providers: [DbContextHealthIndicator],
})
export class HealthModule {}

@Injectable()
export class Probe {
  constructor(@InjectConnection() private readonly connection: DbConnection) {}

  async summary() {
    const { isReachable, isPrimary, host, pool, error } = await this.connection.check({
      timeoutMs: 500,
    });
    if (!isReachable) {
      return `${host} is away: ${error?.message}`;
    }
    return `${host} ${isPrimary === true ? 'takes writes' : 'only reads'}; ${pool?.waiting} wait`;
  }
}
