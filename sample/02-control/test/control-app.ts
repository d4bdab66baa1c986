import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { getConnectionToken, type DbConnection } from 'nestjs-db-context';

import { AppModule } from '../app.module.js';
import { SlowWorkService } from '../early-end/slow-work.service.js';

/**
 * Starts the application, with its table.
 *
 * @param slowWork in place of what takes its time
 */
export async function startControlApp(
  databaseUrl: string,
  slowWork: () => void = () => undefined,
): Promise<INestApplication> {
  const testingModule = await Test.createTestingModule({
    imports: [AppModule.register({ databaseUrl })],
  })
    .overrideProvider(SlowWorkService)
    .useValue({ run: async () => slowWork() })
    .compile();
  const app = testingModule.createNestApplication({ logger: false, forceCloseConnections: true });
  await connectionOf(app).orm.schema.update({ safe: true });
  await app.listen(0, '127.0.0.1');
  return app;
}

export function connectionOf(app: INestApplication): DbConnection {
  return app.get(getConnectionToken());
}
