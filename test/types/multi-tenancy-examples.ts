// The code of docs/multi-tenancy.md; tsc checks it here, and a spec checks that it is the same.
import { defineConfig } from '@mikro-orm/postgresql';
import { Injectable, Module, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { ClsModule, ClsService } from 'nestjs-cls';
import { DbContextModule, type DbContext } from 'nestjs-db-context';

import { Note } from '../support/note.entity.js';

declare const clientUrl: string;
declare const job: { readonly tenant: string };
declare const reports: { send(): Promise<void> };

@Module({
  imports: [
    ClsModule.forRoot({ global: true, middleware: { mount: true } }),
    DbContextModule.forRoot({
      connections: [
        {
          ...defineConfig({ clientUrl, entities: [Note] }),
          role: 'app_tenant',
          sessionVariables: (cls) => ({ 'app.tenant': cls.get<string>('tenant') }),
          resetOnRelease: 'always',
        },
      ],
    }),
  ],
})
export class AppModule {}

@Injectable()
export class TenantGuard implements CanActivate {
  constructor(private readonly cls: ClsService) {}

  canActivate(context: ExecutionContext): boolean {
    const { tenant } = context.switchToHttp().getRequest<{ tenant?: string }>();
    this.cls.set('tenant', tenant); // as the authentication has found it, never as a header says it
    return tenant !== undefined;
  }
}

export async function runJob(cls: ClsService, dbContext: DbContext) {
  await cls.run(async () => {
    cls.set('tenant', job.tenant);
    await dbContext.run(() => reports.send(), { name: 'reports' });
  });
}
