// The code of docs/connections.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { Injectable } from '@nestjs/common';
import { DbConnection, DbContextModule, InjectConnection } from 'nestjs-db-context';

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
  if (known !== undefined && known.until > Date.now()) {
    return known.host;
  }
  asking ??= findPrimary().finally(() => (asking = undefined));
  const host = await asking;
  known = { host, until: Date.now() + 1_000 };
  return host;
}
