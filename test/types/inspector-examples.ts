// The code of docs/inspector.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { Module } from '@nestjs/common';
import { DbContextModule } from 'nestjs-db-context';

declare const Account: new () => object;

import { DbContextInspectorModule } from 'nestjs-db-context/inspector';

@Module({
  imports: [
    DbContextModule.forRoot({ connections: [defineConfig({ entities: [Account] })] }),
    ...(process.env.NODE_ENV === 'production' ? [] : [DbContextInspectorModule.forRoot()]),
  ],
})
export class AppModule {}
