// The code of docs/connections.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { Catch, Injectable, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { Response } from 'express';
import { DbConnection, DbContextModule, InjectConnection, NoPrimaryError } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

const clientUrl = 'postgres://localhost/app';

declare function findPrimary(): Promise<string>;

@Injectable()
export class Failover {
  constructor(@InjectConnection() private readonly connection: DbConnection) {}

  async to(host: string) {
    const before = this.connection.host;
    await this.connection.changeHost(host);
    return { before, now: this.connection.host };
  }
}

export const root = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({ clientUrl, entities: [Note] }),
      beforeSession: async (connection) => {
        await connection.changeHost(await currentPrimary());
      },
    },
  ],
});

let known: { readonly host: string; readonly until: number } | undefined;
let asking: Promise<string> | undefined;

export async function currentPrimary(): Promise<string> {
  if (known !== undefined && known.until > performance.now()) {
    return known.host;
  }
  asking ??= findPrimary().finally(() => (asking = undefined));
  const host = await asking;
  known = { host, until: performance.now() + 1_000 };
  return host;
}

export const highlyAvailable = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({ clientUrl, entities: [Note] }),
      failover: { hosts: ['db1:5432', 'db2:5432'] },
    },
  ],
});

@Catch(NoPrimaryError)
export class NoPrimaryFilter implements ExceptionFilter {
  catch(error: NoPrimaryError, host: ArgumentsHost) {
    const response = host.switchToHttp().getResponse<Response>();
    response.status(503).header('retry-after', '1').json({ code: error.code });
  }
}
