import { Module, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { DbContextModule } from 'nestjs-db-context';

import { ormOptions } from '../app/orm.js';

/** An application with the module of the library and nothing else. */
export function startContextApp(databaseUrl: string): Promise<INestApplicationContext> {
  @Module({
    imports: [DbContextModule.forRoot({ connections: [ormOptions({ clientUrl: databaseUrl })] })],
  })
  class AppModule {}
  return NestFactory.createApplicationContext(AppModule, { logger: ['error', 'fatal'] });
}
