// The code of docs/security.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { DbContextModule } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

const clientUrl = 'postgres://localhost/app';

export const root = DbContextModule.forRoot({
  connections: [
    {
      ...defineConfig({ clientUrl, entities: [Note] }),
      resetOnRelease: 'always',
    },
  ],
});
